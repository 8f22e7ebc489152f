//! Compiles the control messages, without needing protoc, and finds the built page.

use std::{fs, path::Path};

const PROTO: &str = "src/proto/corridor.proto";
const PAGE: &str = "dashboards/web/dist";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let descriptors = protox::compile(["corridor.proto"], ["src/proto"])?;
    prost_build::Config::new()
        // Few reports and windows have these, and none is to be so much larger than others.
        .boxed(".corridor.v1.Report.surroundings")
        .boxed(".corridor.v1.Report.path")
        .boxed(".corridor.v1.Window.of.target")
        .boxed(".corridor.v1.Window.chain_up")
        .boxed(".corridor.v1.Window.chain_down")
        .compile_fds(descriptors)?;

    println!("cargo:rerun-if-changed={PAGE}");
    let root = std::env::var("CARGO_MANIFEST_DIR")?;
    let mut page = Path::new(&root).join(PAGE);
    if !page.join("index.html").exists() {
        // The API and the daemons do not need the page, and `cargo build` alone cannot make it.
        page = Path::new(&std::env::var("OUT_DIR")?).join("page");
        fs::create_dir_all(&page)?;
        fs::write(
            page.join("index.html"),
            "<!doctype html><title>Corridor</title><p>This build has no page: run <code>make web</code> first.",
        )?;
    }
    println!("cargo:rustc-env=CORRIDOR_WEB_DIST={}", page.display());
    Ok(())
}
