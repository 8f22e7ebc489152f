//! Compiles the control messages, without needing protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=src/proto/corridor.proto");
    let descriptors = protox::compile(["corridor.proto"], ["src/proto"])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
