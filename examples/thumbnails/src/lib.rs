//! Thumbnails of images: code that burns the processor, shows its progress, and stops when nobody wants its result.

use std::fs;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{ImageError, ImageReader};
use pp_lib::kinds::{BlockingKind, Context, Failure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Thumbnails of one image.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Thumbnails {
    /// The image: a file in the folder of images.
    pub image: String,
    /// The widths in pixels.
    #[schemars(length(min = 1, max = 10), inner(range(min = 1, max = 2000)))]
    pub widths: Vec<u32>,
}

/// A thumbnail.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Thumbnail {
    /// Its file in the folder of images.
    pub file: String,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
}

impl BlockingKind for Thumbnails {
    const NAME: &'static str = "image.thumbnails";
    type Output = Vec<Thumbnail>;
    /// The folder of images.
    type State = PathBuf;

    fn run(self, folder: &PathBuf, context: &Context) -> Result<Vec<Thumbnail>, Failure> {
        let name = Path::new(&self.image);
        if name.file_name() != Some(name.as_os_str()) {
            return Err(Failure::permanent("an image is named without folders"));
        }
        let mut reader = ImageReader::open(folder.join(name))?;
        reader.limits(limits());
        let image = reader.decode().map_err(failure)?;
        let mut thumbnails = Vec::new();
        for (done, width) in self.widths.iter().enumerate() {
            if context.is_cancelled() {
                return Err(Failure::cancel("nobody waits for it"));
            }
            context.progress(percent(done, self.widths.len()), format!("{width} pixels wide"));
            let small = image.resize(*width, u32::MAX, FilterType::Lanczos3);
            let file = format!("{}-{width}.png", name.file_stem().unwrap_or_default().to_string_lossy());
            // A crash leaves no half a thumbnail, and another attempt replaces it by the same.
            let half = folder.join(format!("{file}.part"));
            small
                .save_with_format(&half, image::ImageFormat::Png)
                .map_err(failure)?;
            fs::rename(&half, folder.join(&file))?;
            let (width, height) = (small.width(), small.height());
            thumbnails.push(Thumbnail { file, width, height });
        }
        Ok(thumbnails)
    }
}

/// Images beyond these limits are refused before they take the memory.
fn limits() -> image::Limits {
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(20_000);
    limits.max_image_height = Some(20_000);
    limits.max_alloc = Some(256 << 20);
    limits
}

/// What is no image will be none next time. Files come and go.
fn failure(error: ImageError) -> Failure {
    match error {
        ImageError::IoError(error) => error.into(),
        other => Failure::permanent(other),
    }
}

fn percent(done: usize, all: usize) -> u8 {
    u8::try_from(done * 100 / all.max(1)).unwrap_or(100)
}
