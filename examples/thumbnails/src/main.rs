//! All of PP in one process, with thumbnails of the images in the folder that `IMAGES` names.

use std::process::ExitCode;

use thumbnails::Thumbnails;

fn main() -> ExitCode {
    pp_standalone::main(async |kinds| {
        let folder = std::env::var_os("IMAGES").unwrap_or_else(|| "images".into());
        Ok(kinds.with_blocking::<Thumbnails>(folder.into()))
    })
}
