//! A GGUF file as a directory: what the transformer and the tokenizer read of it is what the file says.

use conversion::{Error, Precision, to_directory, to_gguf};
use gguf::{Array, BlockType, TensorInfo, Value, Writer};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use transformer::table::Role;
use transformer::{Architecture, Checkpoint, Config, Model, RopeScaling, Tokenizer};

const HIDDEN: usize = 64;
const INTERMEDIATE: usize = 96;
/// Control tokens lie at the end in some files, at the start in others.
const TOKENS: [&str; 9] = ["a", "<|im_start|>", "b", "Ġ", "ab", "Ġab", "<|im_end|>", "<tool>", "[PAD8]"];
const TYPES: [i32; 9] = [1, 3, 1, 1, 1, 1, 3, 4, 5];

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Two layers of random numbers; `is_tied` leaves the output matrix out.
fn tensors(is_tied: bool) -> Tensors {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut all = Tensors::new();
    let mut add = |name: String, shape: &[usize]| {
        let numbers = (0..shape.iter().product::<usize>()).map(|_| random.random_range(-1.0..1.0f32));
        all.insert(name, (shape.to_vec(), numbers.collect()));
    };
    add("token_embd.weight".into(), &[HIDDEN, TOKENS.len()]);
    add("output_norm.weight".into(), &[HIDDEN]);
    if !is_tied {
        add("output.weight".into(), &[HIDDEN, TOKENS.len()]);
    }
    for layer in 0..2 {
        let mut of = |name: &str, shape: &[usize]| add(format!("blk.{layer}.{name}"), shape);
        for (name, width) in [("q", HIDDEN), ("k", HIDDEN / 2), ("v", HIDDEN / 2)] {
            of(&format!("attn_{name}.weight"), &[HIDDEN, width]);
            of(&format!("attn_{name}.bias"), &[width]);
        }
        of("attn_output.weight", &[HIDDEN, HIDDEN]);
        of("attn_norm.weight", &[HIDDEN]);
        of("ffn_norm.weight", &[HIDDEN]);
        of("ffn_gate.weight", &[HIDDEN, INTERMEDIATE]);
        of("ffn_up.weight", &[HIDDEN, INTERMEDIATE]);
        of("ffn_down.weight", &[INTERMEDIATE, HIDDEN]);
    }
    all
}

fn metadata() -> BTreeMap<&'static str, Value> {
    let merges = ["a b", "Ġ ab"].into_iter().collect();
    BTreeMap::from([
        ("general.architecture", Value::from("qwen2")),
        ("qwen2.block_count", Value::U32(2)),
        ("qwen2.embedding_length", Value::U32(HIDDEN as u32)),
        ("qwen2.feed_forward_length", Value::U32(INTERMEDIATE as u32)),
        ("qwen2.attention.head_count", Value::U32(4)),
        ("qwen2.attention.head_count_kv", Value::U32(2)),
        ("qwen2.context_length", Value::U32(128)),
        ("qwen2.rope.freq_base", Value::F32(1e6)),
        ("qwen2.attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ("tokenizer.ggml.model", Value::from("gpt2")),
        ("tokenizer.ggml.pre", Value::from("qwen2")),
        ("tokenizer.ggml.tokens", Value::Array(Array::Strings(TOKENS.into_iter().collect()))),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(TYPES.to_vec()))),
        ("tokenizer.ggml.merges", Value::Array(Array::Strings(merges))),
        ("tokenizer.ggml.eos_token_id", Value::U32(6)),
        ("tokenizer.chat_template", Value::from("{{ messages }}")),
    ])
}

fn write(path: &Path, metadata: &BTreeMap<&str, Value>, tensors: &Tensors) {
    let infos = tensors.iter().map(|(name, (shape, _))| TensorInfo {
        name: name.clone(),
        shape: shape.clone(),
        block_type: BlockType::F32,
    });
    let mut writer = Writer::create(path, metadata, infos.collect()).expect("a writer");
    for (name, (_, numbers)) in tensors {
        writer.write_f32(name, numbers).expect("a tensor");
    }
    writer.finish().expect("a file");
}

fn converted(
    metadata: &BTreeMap<&str, Value>,
    tensors: &Tensors,
) -> (Result<(), Error>, tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("m.gguf");
    write(&path, metadata, tensors);
    let out = directory.path().join("model");
    let done = Checkpoint::open(&path)
        .map_err(Error::from)
        .and_then(|model| to_directory(&model, &out, Precision::F32, &mut |_, _| ControlFlow::Continue(())));
    (done, directory, out)
}

#[test]
fn every_number_arrives_where_it_belongs() {
    for is_tied in [true, false] {
        let tensors = tensors(is_tied);
        let (done, _held, out) = converted(&metadata(), &tensors);
        done.expect("a directory");
        let config = Config::load(&out).expect("a configuration");
        assert_eq!((config.head_dim, config.tie_word_embeddings, config.rope_theta), (16, is_tied, 1e6));
        assert_eq!((config.rms_norm_eps, config.eos_token_ids.as_slice()), (1e-6, &[6][..]));
        let model = Model::load(&out).expect("a model");
        for (index, part) in model.weights.table().parts() {
            assert_eq!(
                model.weights.tensor(index)[part.range.clone()],
                tensors[&part.gguf].1,
                "{}",
                part.gguf
            );
        }
    }
}

/// The gains of a model's last norm.
fn last_gains(model: &mut Model) -> &mut [f32] {
    let at = model.weights.table().tensors().iter().position(|tensor| tensor.role == Role::FinalNorm);
    model.weights.tensors_mut().swap_remove(at.expect("a norm"))
}

/// Every family as a GGUF file says what the directory said: shape, weights, tokens.
#[test]
fn a_directory_survives_being_a_gguf_file() {
    let llama3 = RopeScaling::Llama3 {
        factor: 32.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_positions: 8192,
    };
    let other_llama3 = RopeScaling::Llama3 {
        factor: 4.0,
        low_frequency_factor: 1.25,
        high_frequency_factor: 3.0,
        original_positions: 4096,
    };
    let all = [
        (Architecture::Qwen2, RopeScaling::None, vec![]),
        (Architecture::Qwen3, RopeScaling::None, vec![]),
        (Architecture::Llama, llama3, vec![]),
        (Architecture::Llama, other_llama3, vec![]),
        (Architecture::Llama, RopeScaling::Linear { factor: 4.0 }, vec![]),
        (Architecture::SmolLm3, RopeScaling::None, vec![3]),
    ];
    let tokenizer =
        Tokenizer::train(["ab ab abc", "abc ab"].into_iter(), 270, &["<end>"]).expect("a tokenizer");
    for (architecture, rope_scaling, layers_without_rope) in all {
        let config = Config {
            architecture,
            rope_scaling,
            layers_without_rope,
            vocab_size: 280,
            num_hidden_layers: 4,
            head_dim: 16,
            ..Config::tiny()
        };
        let mut model = Model::random(config, 3);
        let directory = tempfile::tempdir().expect("a directory");
        model.save(&directory.path().join("other"), Default::default()).expect("saved");
        let other = Checkpoint::open(&directory.path().join("other")).expect("a model");
        last_gains(&mut model)[0] += 0.25;
        model.save(directory.path(), Default::default()).expect("saved");
        tokenizer.save(directory.path()).expect("saved");
        let opened = Checkpoint::open(directory.path()).expect("a model");
        for (kind, most) in [(BlockType::F32, 0.0), (BlockType::Q8_0, 1.0 / 127.0)] {
            let path = directory.path().join(format!("{kind:?}.gguf"));
            to_gguf(&opened, &path, kind, &mut |_, _| ControlFlow::Continue(())).expect("a file");
            let again = Checkpoint::open(&path).expect("a model");
            assert_eq!(again.config(), &model.config);
            let fingerprint = again.fingerprint().expect("a fingerprint");
            assert_eq!(fingerprint, opened.fingerprint().expect("a fingerprint"), "{kind:?}");
            assert_ne!(fingerprint, other.fingerprint().expect("a fingerprint"));
            let numbers = again.model().expect("numbers").weights;
            for (ours, theirs) in model.weights.tensors().into_iter().zip(numbers.tensors()) {
                let largest = ours.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
                assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() <= most * largest));
            }
            let tokens = Tokenizer::of(&again).expect("a tokenizer");
            for text in ["ab abc<end>x", "Größe  1234\n\n"] {
                assert_eq!(tokens.encode(text), tokenizer.encode(text));
            }
        }
        let taken = directory.path().join("F32.gguf");
        let again = to_gguf(&opened, &taken, BlockType::F32, &mut |_, _| ControlFlow::Continue(()));
        assert!(matches!(again, Err(Error::Occupied(_))));
    }
}

#[test]
fn text_becomes_the_files_tokens() {
    let (done, _held, out) = converted(&metadata(), &tensors(true));
    done.expect("a directory");
    let tokenizer = Tokenizer::load(&out).expect("a tokenizer");
    assert_eq!(tokenizer.encode("<|im_start|>ab ab<|im_end|>a<tool>"), [1, 4, 5, 6, 0, 7]);
    assert_eq!(tokenizer.decode(&[4, 5, 6, 7]), "ab ab<tool>");
    let settings = std::fs::read_to_string(out.join("tokenizer_config.json")).expect("settings");
    assert!(settings.contains("{{ messages }}"));
}

#[test]
fn what_is_unknown_or_wrong_is_named() {
    let named = |change: &dyn Fn(&mut BTreeMap<&str, Value>, &mut Tensors), words: &[&str]| {
        let (mut metadata, mut tensors) = (metadata(), tensors(true));
        change(&mut metadata, &mut tensors);
        let (done, _held, out) = converted(&metadata, &tensors);
        let message = done.expect_err("an error").to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert!(!out.join("config.json").exists() && !out.join("model.safetensors").exists(), "{message}");
    };
    named(
        &|metadata, _| drop(metadata.insert("general.architecture", Value::from("mamba"))),
        &["mamba", "qwen2"],
    );
    named(&|metadata, _| drop(metadata.remove("qwen2.block_count")), &["qwen2.block_count"]);
    named(
        &|metadata, _| drop(metadata.insert("tokenizer.ggml.pre", Value::from("odd"))),
        &["odd", "tokenizer.ggml.pre"],
    );
    named(
        &|metadata, _| drop(metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1])))),
        &["9 tokens"],
    );
    named(
        &|metadata, _| drop(metadata.insert("qwen2.block_count", Value::U32(400))),
        &["qwen2.block_count", "found 400"],
    );
    named(
        &|metadata, _| drop(metadata.insert("tokenizer.ggml.eos_token_id", Value::U32(9))),
        &["tokenizer.ggml.eos_token_id", "below 9", "found 9"],
    );
    named(&|_, tensors| drop(tensors.remove("blk.1.ffn_up.weight")), &["blk.1.ffn_up.weight"]);
    named(&|_, tensors| drop(tensors.insert("blk.0.extra".into(), (vec![1], vec![0.0]))), &["blk.0.extra"]);
    named(
        &|_, tensors| drop(tensors.insert("output_norm.weight".into(), (vec![2], vec![0.0; 2]))),
        &["output_norm.weight", "[64]", "[2]"],
    );
}

/// Metadata that changes what is computed is not passed over, and what makes no sense is refused by its key.
#[test]
fn metadata_that_is_not_heeded_is_refused_by_its_key() {
    let refused = |key: &'static str, value: Value| {
        let mut metadata = metadata();
        metadata.insert(key, value);
        let (done, _held, out) = converted(&metadata, &tensors(true));
        let message = done.expect_err(key).to_string();
        assert!(message.contains(&format!("m.gguf: {key}")) && message.contains("expected "), "{message}");
        assert!(!out.exists(), "{message}");
    };
    for value in [f32::NAN, -1.0, 0.0, f32::INFINITY, 3e38] {
        refused("qwen2.rope.freq_base", Value::F32(value));
        refused("qwen2.attention.layer_norm_rms_epsilon", Value::F32(value));
    }
    refused("qwen2.context_length", Value::U32(0));
    refused("qwen2.embedding_length", Value::U32(0));
    refused("qwen2.vocab_size", Value::U32(7));
    refused("qwen2.expert_count", Value::U32(8));
    refused("qwen2.logit_scale", Value::F32(2.0));
    refused("qwen2.attention.clamp_kqv", Value::F32(8.0));
    refused("qwen2.final_logit_softcapping", Value::F32(30.0));
    refused("qwen2.attention.sliding_window", Value::U32(64));
    refused("qwen2.attention.causal", Value::Bool(false));
    refused("qwen2.rope.scaling.type", Value::from("yarn"));
    for token in ["bos", "padding", "eot", "unknown"] {
        let key: &'static str = Box::leak(format!("tokenizer.ggml.{token}_token_id").into_boxed_str());
        refused(key, Value::U32(50_000));
    }
    for (key, value) in [
        ("qwen2.expert_count", Value::U32(0)),
        ("qwen2.logit_scale", Value::F32(1.0)),
        ("qwen2.attention.sliding_window", Value::U32(128)),
        ("qwen2.vocab_size", Value::U32(9)),
    ] {
        let mut metadata = metadata();
        metadata.insert(key, value);
        converted(&metadata, &tensors(true)).0.expect(key);
    }
}

#[test]
fn layers_without_positions_that_a_gguf_file_cannot_name_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = Config {
        architecture: Architecture::SmolLm3,
        layers_without_rope: vec![1],
        num_hidden_layers: 4,
        ..Config::tiny()
    };
    Model::random(config, 3).save(directory.path(), Default::default()).expect("saved");
    let model = Checkpoint::open(directory.path()).expect("a model");
    let target = directory.path().join("m.gguf");
    let done = to_gguf(&model, &target, BlockType::F32, &mut |_, _| ControlFlow::Continue(()));
    let message = done.expect_err("refused").to_string();
    assert!(message.contains("config.json: no_rope_layers: expected 0 for every fourth layer"), "{message}");
    assert!(!target.exists());
}

/// As llama.cpp reads them (`llama-model.cpp`, `load_hparams`).
#[test]
fn a_factor_of_positions_counts_under_each_of_its_keys() {
    let scaled = |keys: &[(&'static str, Value)]| {
        let mut metadata = metadata();
        metadata.extend(keys.iter().cloned());
        let (done, _held, out) = converted(&metadata, &tensors(true));
        done.map(|()| Config::load(&out).expect("a configuration").rope_scaling)
            .map_err(|error| error.to_string())
    };
    let number = |key: &'static str, factor: f32| (key, Value::F32(factor));
    let kind = |kind: &str| ("qwen2.rope.scaling.type", Value::from(kind));
    let linear = |factor: f64| Ok(RopeScaling::Linear { factor });
    let (factor, old) = ("qwen2.rope.scaling.factor", "qwen2.rope.scale_linear");
    assert_eq!(scaled(&[number(old, 4.0)]), linear(4.0));
    assert_eq!(scaled(&[number(factor, 4.0)]), linear(4.0));
    assert_eq!(scaled(&[number(factor, 2.0), number(old, 4.0)]), linear(2.0));
    assert_eq!(scaled(&[kind("linear"), number(old, 4.0)]), linear(4.0));
    assert_eq!(scaled(&[kind("linear"), number(factor, 1.0)]), Ok(RopeScaling::None));
    assert_eq!(scaled(&[kind("none"), number(old, 4.0)]), Ok(RopeScaling::None));
    assert_eq!(scaled(&[kind("linear")]), Ok(RopeScaling::None));
    let message = scaled(&[number(old, -1.0)]).expect_err("refused");
    assert!(message.contains("qwen2.rope.scale_linear: expected a number above 0"), "{message}");
}

#[test]
fn a_linear_scaling_of_nothing_is_refused() {
    for factor in [f32::NAN, 0.0, -4.0, f32::INFINITY] {
        let mut metadata = metadata();
        metadata.insert("qwen2.rope.scaling.type", Value::from("linear"));
        metadata.insert("qwen2.rope.scaling.factor", Value::F32(factor));
        let message = converted(&metadata, &tensors(true)).0.expect_err("refused").to_string();
        assert!(message.contains("qwen2.rope.scaling.factor: expected a number above 0"), "{message}");
    }
}

#[test]
fn the_tokenizers_faults_are_named_by_their_keys() {
    let refused = |key: &str, value: Value, expected: &str| {
        let mut metadata = metadata();
        let key = metadata.keys().copied().find(|known| *known == key).expect("a key");
        metadata.insert(key, value);
        let message = converted(&metadata, &tensors(true)).0.expect_err("refused").to_string();
        assert!(message.contains(expected) && !message.contains("line"), "{message}");
    };
    let merges = |second: &str| Value::Array(Array::Strings(["a b", second].into_iter().collect()));
    refused(
        "tokenizer.ggml.merges",
        merges("ab"),
        "tokenizer.ggml.merges[1]: expected two tokens and a space",
    );
    refused(
        "tokenizer.ggml.merges",
        merges("a zz"),
        "tokenizer.ggml.merges[1]: expected two tokens of the vocabulary, of which 'zz'",
    );
    refused(
        "tokenizer.ggml.merges",
        merges("b a"),
        "tokenizer.ggml.merges[1]: expected two tokens that together",
    );
    let types = Value::Array(Array::I32(vec![1, 3, 1, 1, 1, 99, 3, 4, 5]));
    refused(
        "tokenizer.ggml.token_type",
        types,
        "tokenizer.ggml.token_type[5]: expected 1, 3, 4 or 5, found 99",
    );
    refused("tokenizer.ggml.pre", Value::from("\u{1b}[31mred"), "found \\u{1b}[31mred");
    let long = Value::from("A".repeat(3_000_000).as_str());
    refused("tokenizer.ggml.pre", long, "found AAAA");
}

#[test]
fn another_models_tokenizer_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("m.gguf");
    let mut tensors = tensors(true);
    tensors.insert("token_embd.weight".into(), (vec![HIDDEN, 90], vec![0.5; HIDDEN * 90]));
    write(&path, &metadata(), &tensors);
    let message = Checkpoint::open_with_tokenizer(&path).map(drop).expect_err("refused").to_string();
    assert!(message.contains("it has 8 tokens, but the rows of token_embd.weight are 90"), "{message}");
    assert!(!message.contains("vocab_size"), "{message}");
}

#[test]
fn a_model_is_not_written_over_and_a_stop_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("m.gguf");
    write(&path, &metadata(), &tensors(true));
    let file = Checkpoint::open(&path).expect("a model");
    let out = directory.path().join("model");
    let stopped = to_directory(&file, &out, Precision::Bf16, &mut |done, _| match done {
        3 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(std::fs::read_dir(&out).expect("a directory").count(), 0);
    to_directory(&file, &out, Precision::Bf16, &mut |_, _| ControlFlow::Continue(())).expect("a directory");
    let again = to_directory(&file, &out, Precision::Bf16, &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(again, Err(Error::Occupied(_))));
}

/// Whatever a file says of itself, it is opened or refused: no panic, no memory beyond its size.
#[test]
fn a_lying_file_is_refused_or_opened() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("m.gguf");
    write(&path, &metadata(), &tensors(false));
    let whole = std::fs::read(&path).expect("a file");
    let head = whole.len() - tensors(false).values().map(|(_, numbers)| 4 * numbers.len()).sum::<usize>();
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let mut opened = 0;
    let rounds = std::env::var("NCOMP_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    for _ in 0..rounds.unwrap_or(3000) {
        let mut bytes = whole.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..head.min(bytes.len()));
            bytes[at] = random.random();
        }
        if random.random_range(0..8) == 0 {
            bytes.truncate(random.random_range(0..bytes.len()));
        }
        std::fs::write(&path, &bytes).expect("written");
        let Ok(model) = Checkpoint::open(&path) else { continue };
        opened += 1;
        let _ = Tokenizer::of(&model).map(|tokenizer| tokenizer.encode("ab ab<|im_end|>"));
        let _ = model.model();
    }
    assert!(opened > 0);
}
