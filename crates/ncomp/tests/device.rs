//! Where models run, as users choose it; and adapters, which train anywhere.

mod support;

use std::process::Command;
use support::{error, ncomp, report, root, stderr};

fn has_gpu() -> bool {
    let found = report(&ncomp(&["doctor", "--json"]).output().expect("ncomp"));
    found["gpu"].as_str().expect("a text").contains("cuda:0")
}

#[test]
fn a_gpu_that_is_not_there_is_missed_by_name_and_not_by_default() {
    if has_gpu() {
        eprintln!("skipped: this test needs a machine without a GPU");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("candidates.jsonl").display().to_string();
    let generate = [
        "generate",
        "--out",
        &out,
        "--problems",
        "basics",
        "-n",
        "1",
        "--limit",
        "1",
        "--max-new-tokens",
        "4",
    ];
    for device in ["cuda", "cuda:1"] {
        let message =
            error(&ncomp(&[&generate[..], &["--device", device]].concat()).output().expect("ncomp"));
        assert!(message.contains("--device cpu"), "{message}");
        assert!(message.contains("libcuda.so.1") || message.contains("no GPU number"), "{message}");
    }
    let by_default = ncomp(&generate).env_remove("NCOMP_DEVICE").output().expect("ncomp");
    assert!(by_default.status.success(), "{}", stderr(&by_default));
    assert!(!stderr(&by_default).contains("GPU"), "{}", stderr(&by_default));
}

/// What is wrong with a driver is said by name; nobody who did not ask for a GPU is stopped by it.
#[test]
fn a_driver_with_a_fault_is_described() {
    if !missing_driver() {
        eprintln!("skipped: this test needs a machine without an NVIDIA driver");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let library = directory.path().join("libcuda.so.1");
    let source = root().join("crates/ncomp/tests/support/driver.c");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"])
        .args([&library, &source])
        .status()
        .expect("a C compiler");
    assert!(compiled.success());
    let out = directory.path().join("candidates.jsonl").display().to_string();
    let generate = ["generate", "--out", &out, "--problems", "basics", "-n", "1", "--limit", "1"];
    let run = |device: &str, fault: &str| {
        let mut command = ncomp(&[&generate[..], &["--max-new-tokens", "4", "--device", device]].concat());
        let output = command.env("NCOMP_CUDA_LIBRARIES", directory.path()).env("FAULT", fault).output();
        output.expect("ncomp")
    };
    for (fault, expected) in [
        ("none", "no GPU number 0: the driver finds 0"),
        ("mismatch", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (system has unsupported"),
        ("old driver", "supports CUDA 11.4, at least 12.0 is needed: install a newer driver"),
        ("old device", "Imaginary has compute capability 7.5; bf16 needs 8.0 (Ampere) or later"),
        (
            "no toolkit",
            "NVRTC (libnvrtc.so.13) is not found; install the CUDA toolkit, or `pip install nvidia-cuda-nvrtc`",
        ),
    ] {
        let message = error(&run("cuda", fault));
        assert!(message.contains(expected), "{fault}: {message}");
        assert!(!message.contains("panicked"), "{message}");
        let by_default = run("auto", fault);
        assert!(by_default.status.success(), "{fault}: {}", stderr(&by_default));
        let told = stderr(&by_default).contains("the GPU is not used");
        assert_eq!(told, fault != "none", "{fault}: {}", stderr(&by_default));
        let doctor = ncomp(&["doctor", "--json"])
            .env("NCOMP_CUDA_LIBRARIES", directory.path())
            .env("FAULT", fault)
            .output();
        let found = report(&doctor.expect("ncomp"));
        assert!(found["gpu"].as_str().expect("a text").contains(expected), "{fault}: {found}");
    }
}

fn missing_driver() -> bool {
    let found = report(&ncomp(&["doctor", "--json"]).output().expect("ncomp"));
    found["gpu"].as_str().expect("a text").contains("libcuda.so.1 is not found")
}

#[test]
fn devices_and_processes_that_make_no_sense_are_refused() {
    let message = error(&ncomp(&["doctor", "--device", "gpu"]).output().expect("ncomp"));
    assert!(message.contains("expected auto, cpu, cuda or cuda:N"), "{message}");
    let train = ["train", "grpo", "--recipe", "recipes/demo-quick.toml", "--out", "/tmp/nowhere"];
    if !has_gpu() {
        let message = error(&ncomp(&[&train[..], &["--gpus", "2"]].concat()).output().expect("ncomp"));
        assert!(message.contains("--gpus 2: the driver finds 0 GPUs"), "{message}");
    }
    let several = |variables: &[(&str, &str)]| {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = ncomp(&train[..4]);
        command.args(["--out".as_ref(), directory.path()]).envs(variables.iter().copied());
        error(&command.output().expect("ncomp"))
    };
    let message = several(&[("WORLD_SIZE", "2"), ("RANK", "5")]);
    assert!(message.contains("RANK is 5, but WORLD_SIZE is 2"), "{message}");
    let message = several(&[("WORLD_SIZE", "2"), ("RANK", "first")]);
    assert!(message.contains("RANK: expected a number, found 'first'"), "{message}");
}

#[test]
fn adapters_are_trained_and_written_as_peft_has_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let pair = r#"{"prompt": "def f(a):\n", "completion": "    return a\n"}"#;
    std::fs::write(path("pairs.jsonl"), format!("{pair}\n").repeat(8)).expect("written");
    let recipe = |rank: usize| {
        format!(
            "[model]\npath = \"models/basics\"\n[pretrain.training]\nbatch_size = 4\nepochs = 3\n\
             [pretrain.training.optimizer]\nlearning_rate = 1e-2\n\
             [pretrain.training.optimizer.lora]\nrank = {rank}\nalpha = 16.0\ntarget_modules = [\"q_proj\", \"down_proj\"]\n"
        )
    };
    std::fs::write(path("recipe.toml"), format!("name = \"x\"\n{}", recipe(8))).expect("written");
    let arguments = ["--data", &path("pairs.jsonl"), "--recipe", &path("recipe.toml"), "--out", &path("out")];
    let trained = ncomp(&[&["train", "sft"][..], &arguments].concat()).output().expect("ncomp");
    assert!(trained.status.success(), "{}", stderr(&trained));
    let config = std::fs::read_to_string(path("out/adapter/adapter_config.json")).expect("an adapter");
    assert!(config.contains("\"peft_type\": \"LORA\"") && config.contains("\"r\": 8"), "{config}");
    let base = transformer::Model::load(&root().join("models/basics")).expect("the model");
    let merged = transformer::Model::load(path("out").as_ref()).expect("the trained model");
    let adapters =
        transformer::lora::Adapters::load(path("out/adapter").as_ref(), &base.config).expect("adapters");
    let mut expected = base.weights.clone();
    adapters.merge(&base.weights, &mut expected);
    assert_eq!(merged.weights, expected);
    assert_ne!(merged.weights, base.weights);
    let losses = std::fs::read_to_string(path("out/metrics/sft.jsonl")).expect("metrics");
    let loss = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["loss"].as_f64();
    let losses: Vec<f64> = losses.lines().filter_map(loss).collect();
    assert!(losses.len() == 6 && losses[5] < losses[0], "{losses:?}");

    std::fs::write(path("recipe.toml"), format!("name = \"x\"\n{}", recipe(12))).expect("written");
    let message = error(&ncomp(&[&["train", "sft"][..], &arguments].concat()).output().expect("ncomp"));
    assert!(message.contains("lora.rank: expected a multiple of 8, found 12"), "{message}");
}
