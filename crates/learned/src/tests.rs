use super::*;
use critic::{Head, Question};
use serde_json::json;
use std::fs;
use transformer::checkpoint::Precision;
use transformer::device::Device;
use transformer::lora::LoraSettings;
use transformer::{Config, Cpu, Model, Tokenizer};

/// A model named `name`.
fn base(name: &str, intermediate_size: usize) -> Generator {
    let texts = ["def f(a, b):\n    return a + b\n", "# Add two numbers.\n"];
    let tokenizer = Tokenizer::train(texts.into_iter(), 300, &["<|endoftext|>"]).expect("a tokenizer");
    let config = Config {
        vocab_size: tokenizer.vocab_size(),
        intermediate_size,
        eos_token_ids: vec![],
        ..Config::tiny()
    };
    let reader = Cpu::default().reader(Model::random(config, 3)).expect("a reader");
    Generator::new(reader, tokenizer, name)
}

/// Learned parts of that model, in `place/tiny`.
fn write(place: &Path) -> PathBuf {
    let model = base("tiny-instruct", 48);
    let directory = place.join("tiny");
    let settings = LoraSettings { rank: 8, alpha: 16.0, ..LoraSettings::default() };
    let mut adapters = Adapters::new(model.config(), &settings, 1).expect("adapters");
    adapters.all.iter_mut().for_each(|adapter| adapter.b.fill(0.5));
    adapters.save(&directory.join("policy"), "owner/tiny-instruct", Precision::Bf16).expect("written");
    let reader = model.with_reader(|reader| reader.adapted(&adapters)).expect("a reader");
    let head = Head::random(model.config().hidden_size, 8, 2, 5);
    let critic = Critic::new(reader, head, model.tokenizer.clone());
    let target = directory.join("critic");
    critic.save_adapted(&target, &adapters, "owner/tiny-instruct", Precision::F32).expect("written");
    fs::create_dir_all(directory.join("rankers")).expect("made");
    let ranker = serde_json::to_string(&Ranker::built_in(3)).expect("JSON");
    fs::write(directory.join("rankers/level-3.json"), ranker).expect("written");
    set(&directory, &|_| {});
    directory
}

/// Writes the manifest with a change.
fn set(directory: &Path, change: &dyn Fn(&mut serde_json::Value)) {
    let mut manifest = json!({
        "version": 1,
        "models": ["owner/tiny-instruct"],
        "shape": Shape::of(base("", 48).config()),
        "critic": { "max_tokens": 64 },
        "made_by": { "recipe": "recipes/tiny.toml" },
    });
    change(&mut manifest);
    fs::write(directory.join(MANIFEST), manifest.to_string()).expect("written");
}

#[test]
fn parts_are_found_by_the_models_names_and_attached_to_its_weights() {
    let place = tempfile::tempdir().expect("a directory");
    write(place.path());
    let places = [place.path().join("nowhere"), place.path().to_owned()];
    for name in ["other/tiny-instruct", "tiny-instruct-q4_k_m", "owner/Tiny-Instruct-GGUF:Q8_0"] {
        assert!(Learned::find(&places, &["x", name]).expect("readable").is_some(), "{name}");
    }
    for names in [&["tiny"][..], &["tiny-instruct-mine"], &[]] {
        assert!(Learned::find(&places, names).expect("readable").is_none(), "{names:?}");
    }
    let learned = Learned::find(&places, &["tiny-instruct"]).expect("readable").expect("found");
    assert_eq!((learned.name(), learned.manifest().policy.candidates), ("owner/tiny-instruct", 16));
    assert!(learned.ranker(3).is_some() && learned.ranker(0).is_none());
    let model = base("tiny-instruct-q4_k_m", 48);
    let policy = learned.policy(&model).expect("attached").expect("a policy");
    assert_eq!(policy.name, "tiny-instruct-q4_k_m+learned");
    assert!(learned.is_for(&policy.name), "its own candidates are that model's");
    assert_ne!(policy.model().expect("weights").weights, model.model().expect("weights").weights);
    let critic = learned.critic(&model).expect("attached").expect("a critic");
    assert_eq!(critic.max_tokens, 64);
    let question =
        Question { prompt: "# Add.\n".into(), programs: vec!["def f(a, b):\n    return a".into()] };
    let score = critic.score(&[question]).expect("runs")[0][0];
    assert!(score > 0.0 && score < 1.0);
}

#[test]
fn what_is_damaged_matters_to_its_own_model_only() {
    let place = tempfile::tempdir().expect("a directory");
    let directory = write(place.path());
    let places = [place.path().to_owned()];
    let find = |name: &str| Learned::find(&places, &[name]);
    fs::write(directory.join("rankers/level-3.json"), "{").expect("written");
    assert!(find("another").expect("nothing is wrong with it").is_none());
    assert!(find("tiny-instruct").expect_err("a damaged ranker").to_string().contains("level-3.json"));
    fs::write(directory.join(MANIFEST), "{").expect("written");
    assert!(find("another").expect("nothing is wrong with it").is_none());
    // Only the folder's name tells whose it is.
    assert!(find("tiny").expect_err("a damaged manifest").to_string().contains(MANIFEST));
}

#[test]
fn a_model_of_the_name_and_another_shape_is_refused_with_the_field() {
    let place = tempfile::tempdir().expect("a directory");
    let learned = Learned::open(&write(place.path())).expect("readable");
    let other = base("tiny-instruct", 64);
    for error in [learned.policy(&other).err(), learned.critic(&other).err()] {
        let message = error.expect("refused").to_string();
        let parts = ["learned.json", "shape.intermediate_size: expected 48", "has 64", "--learned none"];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn a_model_of_the_shape_and_other_weights_is_refused() {
    let place = tempfile::tempdir().expect("a directory");
    let directory = write(place.path());
    set(&directory, &|manifest| manifest["weights"] = json!("0123"));
    let learned = Learned::open(&directory).expect("readable");
    let of = |fingerprint: Option<&str>| {
        let mut model = base("tiny-instruct", 48);
        model.fingerprint = fingerprint.map(str::to_owned);
        model
    };
    for error in [learned.policy(&of(Some("4567"))).err(), learned.critic(&of(Some("4567"))).err()] {
        let message = error.expect("refused").to_string();
        let parts = ["learned.json", "0123", "4567", "--learned none"];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    for fingerprint in [Some("0123"), None] {
        assert!(learned.policy(&of(fingerprint)).expect("attached").is_some(), "{fingerprint:?}");
    }
}

#[test]
fn what_is_wrong_with_the_files_is_named() {
    let place = tempfile::tempdir().expect("a directory");
    let directory = write(place.path());
    let message = || Learned::open(&directory).expect_err("refused").to_string();
    for (change, expected) in [
        (json!({"version": 2}), "version: expected 1, found 2"),
        (json!({"models": []}), "models: expected the base model's names"),
        (json!({"critic": {"max_tokens": 0}}), "critic.max_tokens"),
        (json!({"colour": "red"}), "colour"),
    ] {
        set(&directory, &|manifest| {
            let (manifest, change) = (manifest.as_object_mut(), change.as_object());
            manifest.expect("an object").extend(change.expect("an object").clone());
        });
        assert!(message().contains("learned.json: ") && message().contains(expected), "{}", message());
    }
    set(&directory, &|_| {});
    fs::copy(directory.join("rankers/level-3.json"), directory.join("rankers/level-1.json")).expect("copied");
    assert!(message().contains("level-1.json: level: expected 1, found 3"), "{}", message());
    fs::remove_dir_all(directory.join("rankers")).expect("removed");
    fs::remove_file(directory.join("policy/adapter_model.safetensors")).expect("removed");
    let learned = Learned::open(&directory).expect("readable");
    let error = learned.policy(&base("tiny-instruct", 48)).err().expect("refused").to_string();
    assert!(error.contains("policy/adapter_model.safetensors"), "{error}");
    fs::remove_dir_all(directory.join("policy")).expect("removed");
    fs::remove_dir_all(directory.join("critic")).expect("removed");
    assert!(message().contains("expected policy/, critic/ or rankers"), "{}", message());
}
