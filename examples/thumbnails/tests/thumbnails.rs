//! Thumbnails of an image that the test paints.

use image::{Rgb, RgbImage};
use pp_lib::domain::{Progress, Status};
use pp_lib::kinds::{BlockingKind as _, Context, Kinds};
use pp_lib::testing::Jobs;
use tempfile::TempDir;
use thumbnails::{Thumbnail, Thumbnails};

/// A folder with an image, and with a file that is none.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let image = RgbImage::from_fn(400, 200, |x, y| Rgb([(x % 256) as u8, (y % 256) as u8, 9]));
    image.save(folder.path().join("sea.png")).unwrap();
    std::fs::write(folder.path().join("text.png"), "no image").unwrap();
    folder
}

fn wanted(image: &str, widths: &[u32]) -> Thumbnails {
    Thumbnails {
        image: image.to_owned(),
        widths: widths.to_vec(),
    }
}

#[tokio::test]
async fn each_width_is_a_file() {
    let folder = folder();
    let kinds = Kinds::new().with_blocking::<Thumbnails>(folder.path().to_owned());
    let jobs = Jobs::new(kinds).await;
    for image in ["sea.png", "text.png", "../sea.png"] {
        jobs.enqueue(&wanted(image, &[100, 50])).await;
    }
    let works = jobs.drain::<Thumbnails>().await;
    let made: Vec<Thumbnail> = works[0].result.as_ref().unwrap().read().unwrap();
    let sizes: Vec<(u32, u32)> = made.iter().map(|small| (small.width, small.height)).collect();
    assert_eq!(sizes, [(100, 50), (50, 25)]);
    for small in &made {
        let read = image::open(folder.path().join(&small.file)).unwrap();
        assert_eq!((read.width(), read.height()), (small.width, small.height));
    }
    for refused in &works[1..] {
        assert_eq!((refused.status, refused.attempt), (Status::Failed, 1), "{refused:?}");
    }
}

#[test]
fn its_progress_is_told() {
    let (folder, context) = (folder(), Context::test());
    wanted("sea.png", &[80, 40, 20, 10])
        .run(&folder.path().to_owned(), &context)
        .unwrap();
    assert_eq!(context.take_progress(), Some(Progress::new(75, "10 pixels wide")));
}
