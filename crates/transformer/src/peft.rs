//! Adapters on disk, as PEFT has them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! What a file's tensors are says which matrices have an adapter. Settings that change what is computed
//! are honoured, or refused by their name.

use crate::checkpoint::{Precision, TensorFiles, save_tensors};
use crate::lora::{Adapter, Adapters, LoraSettings, is_module};
use crate::{Config, Error};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";

/// Fields that must be absent, null, false or empty: what they ask for is not computed here.
const REFUSED: [&str; 12] = [
    "use_dora",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "fan_in_fan_out",
    "lora_bias",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "use_qalora",
    "alora_invocation_tokens",
    "arrow_config",
];

/// Whether a directory holds adapters.
pub fn is_adapter(directory: &Path) -> bool {
    directory.join(CONFIG).is_file()
}

impl Adapters {
    /// Writes them as PEFT does; `base` names the model that they belong to.
    ///
    /// # Errors
    /// Where the directory cannot be written.
    pub fn save(&self, directory: &Path, base: &str, precision: Precision) -> Result<(), Error> {
        let config = json!({
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": self.settings.alpha,
            "lora_dropout": 0.0,
            "peft_type": "LORA",
            "r": self.settings.rank,
            "target_modules": self.settings.target_modules,
            "task_type": "CAUSAL_LM",
        });
        let path = directory.join(CONFIG);
        std::fs::create_dir_all(directory).map_err(|error| Error::io(directory, error))?;
        files::write(&path, format!("{config:#}\n").as_bytes()).map_err(|error| Error::io(&path, error))?;
        let tensors = self.all.iter().flat_map(|adapter| {
            let ([a, b], rank) = (names(adapter), self.settings.rank);
            [
                (a, vec![rank, adapter.inputs], adapter.a.as_slice()),
                (b, vec![adapter.outputs, rank], adapter.b.as_slice()),
            ]
        });
        save_tensors(&directory.join(TENSORS), tensors, precision)
    }

    /// Reads what [`save`](Self::save) or PEFT wrote, of any rank.
    ///
    /// # Errors
    /// Names the file and the field or tensor that is missing, does not fit the model, or asks for what is
    /// not computed here.
    pub fn load(directory: &Path, config: &Config) -> Result<Self, Error> {
        let path = directory.join(CONFIG);
        let text = std::fs::read_to_string(&path).map_err(|error| Error::io(&path, error))?;
        let fields: Value = serde_json::from_str(&text)
            .map_err(|error| Error::invalid(&path, format!("not JSON: {error}")))?;
        let files = TensorFiles::open_file(&directory.join(TENSORS))?;
        let settings = settings(&path, &fields, &files)?;
        let mut adapters =
            Adapters::zeros(config, &settings).map_err(|error| Error::invalid(&path, error.to_string()))?;
        if is_partial(&fields) {
            adapters.all.retain(|adapter| names(adapter).iter().any(|name| files.contains(name)));
        }
        adapters.read(directory, &files)?;
        Ok(adapters)
    }

    fn read(&mut self, directory: &Path, files: &TensorFiles) -> Result<(), Error> {
        let path = directory.join(TENSORS);
        let rank = self.settings.rank;
        let mut known = BTreeSet::new();
        for adapter in &mut self.all {
            let [a, b] = names(adapter);
            files.read(&a, &[rank, adapter.inputs], &mut adapter.a)?;
            files.read(&b, &[adapter.outputs, rank], &mut adapter.b)?;
            let numbers = adapter.a.iter().chain(&adapter.b);
            if let Some(number) = numbers.copied().find(|number| !number.is_finite()) {
                let message = format!("the adapter of {}: expected numbers, found {number}", adapter.module);
                return Err(Error::invalid(&path, message));
            }
            known.extend([a, b]);
        }
        match files.names().find(|name| !known.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(Error::invalid(
                &path,
                format!("tensor {name}: expected adapters of matrices of the model's layers only"),
            )),
        }
    }
}

/// The names of an adapter's tensors.
fn names(adapter: &Adapter) -> [String; 2] {
    ["A", "B"].map(|part| format!("base_model.model.{}.lora_{part}.weight", adapter.module))
}

/// Whether only some of the matrices that the targets name may have an adapter.
fn is_partial(fields: &Value) -> bool {
    fields["target_modules"].is_string()
        || is_set(&fields["layers_to_transform"])
        || is_set(&fields["exclude_modules"])
}

/// Whether a field says something.
fn is_set(field: &Value) -> bool {
    match field {
        Value::Null | Value::Bool(false) => false,
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

/// What `adapter_config.json` says.
fn settings(path: &Path, fields: &Value, files: &TensorFiles) -> Result<LoraSettings, Error> {
    let expected = |name: &str, what: &str| {
        Error::invalid(path, format!("{name}: expected {what}, found {}", fields[name]))
    };
    if fields["peft_type"] != "LORA" {
        return Err(expected("peft_type", "\"LORA\""));
    }
    if let Some(name) = REFUSED.into_iter().find(|name| is_set(&fields[*name])) {
        let advice =
            "nothing: it is not supported; merge the adapter to its model with PEFT's merge_and_unload";
        return Err(expected(name, advice));
    }
    if is_set(&fields["bias"]) && fields["bias"] != "none" {
        return Err(expected("bias", "\"none\""));
    }
    let rank = fields["r"].as_u64().filter(|rank| (1..=4096).contains(rank));
    let rank = rank.ok_or_else(|| expected("r", "a rank, 1 to 4096"))? as usize;
    let alpha = fields["lora_alpha"].as_f64().filter(|alpha| alpha.is_finite());
    let alpha = alpha.ok_or_else(|| expected("lora_alpha", "a number"))?;
    let by_root = fields["use_rslora"].as_bool().unwrap_or(false);
    let target_modules = targets(&fields["target_modules"], files)
        .ok_or_else(|| expected("target_modules", "a list of modules' names, or a pattern"))?;
    // Rank-stabilised: divided by the root of the rank.
    let alpha = if by_root { alpha * (rank as f64).sqrt() } else { alpha };
    Ok(LoraSettings { rank, alpha, target_modules })
}

/// The modules that are named; of a pattern those that have tensors.
fn targets(field: &Value, files: &TensorFiles) -> Option<Vec<String>> {
    if field.is_string() {
        let all = LoraSettings::default().target_modules.into_iter();
        let modules: Vec<&str> =
            files.names().filter_map(|name| name.strip_suffix(".lora_A.weight")).collect();
        return Some(all.filter(|target| modules.iter().any(|module| is_module(module, target))).collect());
    }
    field.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn adapters(rank: usize) -> Adapters {
        let target_modules = ["q_proj", "down_proj"].map(str::to_owned).to_vec();
        let settings = LoraSettings { rank, alpha: 16.0, target_modules };
        let mut adapters = Adapters::zeros(&Config::tiny(), &settings).expect("adapters");
        for (at, value) in adapters.tensors_mut().into_iter().flatten().enumerate() {
            *value = (at % 97) as f32 / 64.0 - 0.5;
        }
        adapters
    }

    #[test]
    fn adapters_survive_being_written_and_read_in_both_precisions_and_any_rank() {
        for (rank, precision) in [(8, Precision::F32), (8, Precision::Bf16), (3, Precision::F32)] {
            let adapters = adapters(rank);
            let directory = tempfile::tempdir().expect("a directory");
            adapters.save(directory.path(), "tiny", precision).expect("written");
            assert!(is_adapter(directory.path()));
            // The numbers have few enough bits for either.
            assert_eq!(Adapters::load(directory.path(), &Config::tiny()).expect("read"), adapters);
        }
    }

    #[test]
    fn settings_that_change_what_is_computed_are_honoured_or_refused_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let adapters = adapters(4);
        adapters.save(directory.path(), "tiny", Precision::F32).expect("written");
        let path = directory.path().join(CONFIG);
        let whole: Value = serde_json::from_str(&fs::read_to_string(&path).expect("read")).expect("JSON");
        let with = |name: &str, value: Value| {
            let mut fields = whole.clone();
            fields[name] = value;
            fs::write(&path, fields.to_string()).expect("written");
            Adapters::load(directory.path(), &Config::tiny())
        };
        for (name, value) in [
            ("use_dora", json!(true)),
            ("modules_to_save", json!(["lm_head"])),
            ("rank_pattern", json!({"q_proj": 2})),
            ("alpha_pattern", json!({"q_proj": 2})),
            ("bias", json!("all")),
            ("fan_in_fan_out", json!(true)),
            ("peft_type", json!("IA3")),
            ("r", json!(0)),
            ("lora_alpha", json!("much")),
            ("target_modules", json!(7)),
            ("target_modules", json!(["c_attn"])),
        ] {
            let message = with(name, value).expect_err(name).to_string();
            assert!(message.contains(CONFIG) && message.contains(name), "{message}");
        }
        for (name, value) in [("rank_pattern", json!({})), ("use_dora", json!(false)), ("bias", Value::Null)]
        {
            assert_eq!(with(name, value).expect(name), adapters);
        }
        let rooted = with("use_rslora", json!(true)).expect("rank-stabilised");
        assert_eq!((rooted.scale(), adapters.scale()), (8.0, 4.0));
        let pattern = with("target_modules", json!(r".*\.(q_proj|down_proj)")).expect("a pattern");
        assert_eq!(pattern.all, adapters.all);
        let message = with("r", json!(8)).expect_err("another rank").to_string();
        assert!(message.contains("lora_A") && message.contains("expected shape"), "{message}");
    }

    #[test]
    fn tensors_that_are_missing_or_left_over_are_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut adapters = adapters(8);
        let load = || Adapters::load(directory.path(), &Config::tiny()).expect_err("refused").to_string();
        let last = adapters.all.pop().expect("an adapter");
        adapters.save(directory.path(), "tiny", Precision::F32).expect("written");
        assert!(load().contains(&last.module), "missing");
        adapters.all.push(Adapter { module: "lm_head".into(), ..last.clone() });
        adapters.all.push(last);
        adapters.save(directory.path(), "tiny", Precision::F32).expect("written");
        assert!(load().contains("tensor base_model.model.lm_head.lora_A.weight"), "left over");
        adapters.all.retain(|adapter| adapter.module != "lm_head");
        adapters.all[0].b[3] = f32::NAN;
        adapters.save(directory.path(), "tiny", Precision::F32).expect("written");
        assert!(load().contains("found NaN"), "not a number");
    }

    /// A pattern and a list of layers leave other layers without adapters.
    #[test]
    fn some_layers_may_have_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut adapters = adapters(8);
        adapters.all.retain(|adapter| adapter.module.contains("layers.1."));
        adapters.save(directory.path(), "tiny", Precision::F32).expect("written");
        let path = directory.path().join(CONFIG);
        let mut fields: Value =
            serde_json::from_str(&fs::read_to_string(&path).expect("read")).expect("JSON");
        fields["layers_to_transform"] = json!([1]);
        fs::write(&path, fields.to_string()).expect("written");
        assert_eq!(Adapters::load(directory.path(), &Config::tiny()).expect("read"), adapters);
    }
}
