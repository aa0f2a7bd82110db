//! The kernels compile; needs NVRTC, no GPU.

use cuda::kernels::{Shape, compile};

#[test]
fn they_compile_for_the_oldest_generation_and_for_hopper() {
    for architecture in ["sm_80", "sm_90"] {
        for (head_dim, group) in [(8, 2), (64, 3), (64, 7), (128, 1), (128, 6)] {
            match compile(Shape { head_dim, group }, architecture) {
                Ok(binary) => assert!(binary.starts_with(b"\x7fELF"), "{architecture}"),
                Err(error @ cuda::Error::MissingLibrary { .. }) if !required() => {
                    eprintln!("skipped: this test needs NVRTC: {error}");
                    return;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn required() -> bool {
    std::env::var_os("NCOMP_TEST_NVRTC").is_some_and(|value| value == "require")
}
