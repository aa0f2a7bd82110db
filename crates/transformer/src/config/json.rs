//! `config.json` and `generation_config.json` of a Hugging Face directory.

use super::{Config, every_nth};
use crate::architecture::{Architecture, RopeScaling};
use crate::error::{Error, quoted};
use serde_json::{Map, Value};
use std::path::Path;

/// Fields that change what a model computes, in a way that is not implemented, unless they are absent, null,
/// or this.
const PLAIN: [(&str, Plain); 19] = [
    ("use_sliding_window", Plain::False),
    ("attention_bias", Plain::False),
    ("mlp_bias", Plain::False),
    ("num_experts", Plain::Number(0.0)),
    ("num_local_experts", Plain::Number(0.0)),
    ("n_routed_experts", Plain::Number(0.0)),
    ("logit_scale", Plain::Number(1.0)),
    ("logits_scaling", Plain::Number(1.0)),
    ("attention_multiplier", Plain::Nothing),
    ("embedding_multiplier", Plain::Number(1.0)),
    ("residual_multiplier", Plain::Number(1.0)),
    ("partial_rotary_factor", Plain::Number(1.0)),
    ("attn_logit_softcapping", Plain::Nothing),
    ("final_logit_softcapping", Plain::Nothing),
    ("clip_qkv", Plain::Nothing),
    ("attention_clamp", Plain::Nothing),
    ("quantization_config", Plain::Nothing),
    ("compression_config", Plain::Nothing),
    ("is_encoder_decoder", Plain::False),
];

/// What a field may be without changing anything.
#[derive(Clone, Copy)]
enum Plain {
    False,
    Number(f64),
    Nothing,
}

/// Reads a directory's `config.json` and `generation_config.json`.
pub(super) fn load(directory: &Path) -> Result<Config, Error> {
    let path = directory.join("config.json");
    let fields = read_object(&path)?;
    let get = Fields { path: &path, fields: &fields };
    let architecture = get.architecture()?;
    get.expect_plain(architecture)?;
    let hidden_size = get.count("hidden_size")?;
    let num_attention_heads = get.count("num_attention_heads")?;
    let num_hidden_layers = get.count("num_hidden_layers")?;
    let vocab_size = get.count("vocab_size")?;
    let config = Config {
        architecture,
        vocab_size,
        hidden_size,
        intermediate_size: get.count("intermediate_size")?,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads: get.count_or("num_key_value_heads", num_attention_heads)?,
        head_dim: get.count_or("head_dim", hidden_size / num_attention_heads.max(1))?,
        rms_norm_eps: get.number_or("rms_norm_eps", 1e-6)? as f32,
        rope_theta: get.rope_theta()?,
        rope_scaling: get.rope_scaling()?,
        layers_without_rope: get.layers_without_rope(architecture, num_hidden_layers)?,
        tie_word_embeddings: get.ties(architecture)?,
        max_position_embeddings: get.count_or("max_position_embeddings", 32_768)?,
        eos_token_ids: end_tokens(directory, &get, vocab_size)?,
    };
    config.check().map_err(|wrong| Error::invalid(&path, wrong.message(wrong.field)))?;
    Ok(config)
}

fn read_object(path: &Path) -> Result<Map<String, Value>, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Error::invalid(path, "expected a JSON object")),
        Err(error) => match crate::error::not_a_model(text.as_bytes()) {
            Some(message) => Err(Error::invalid(path, message)),
            None => Err(Error::invalid(path, format!("not JSON: {error}"))),
        },
    }
}

/// Tokens that end an answer. Those of `generation_config.json` take precedence, but what `config.json`
/// says must make sense too: it is what other programs take.
fn end_tokens(directory: &Path, config: &Fields, vocab_size: usize) -> Result<Vec<u32>, Error> {
    config.tokens("bos_token_id", vocab_size)?;
    // Some files have -1 for none.
    if config.get("pad_token_id").as_i64() != Some(-1) {
        config.tokens("pad_token_id", vocab_size)?;
    }
    let of_config = config.tokens("eos_token_id", vocab_size)?;
    let path = directory.join("generation_config.json");
    let fields = if path.exists() { read_object(&path)? } else { Map::new() };
    let generation = Fields { path: &path, fields: &fields };
    match fields.get("eos_token_id") {
        None => Ok(of_config),
        Some(_) => generation.tokens("eos_token_id", vocab_size),
    }
}

/// The name of an object within the file, and its fields.
type Named<'a> = (&'static str, &'a Map<String, Value>);

struct Fields<'a> {
    path: &'a Path,
    fields: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn get(&self, name: &str) -> &Value {
        self.fields.get(name).unwrap_or(&Value::Null)
    }

    fn wrong(&self, name: &str, expected: &str, found: &Value) -> Error {
        Error::invalid(
            self.path,
            format!("{name}: expected {expected}, found {}", quoted(&found.to_string())),
        )
    }

    fn architecture(&self) -> Result<Architecture, Error> {
        let found = self.get("model_type");
        let expected = || format!("one of {}", Architecture::names());
        found
            .as_str()
            .and_then(Architecture::named)
            .ok_or_else(|| self.wrong("model_type", &expected(), found))
    }

    /// Refuses what would change the computation and is not implemented.
    fn expect_plain(&self, architecture: Architecture) -> Result<(), Error> {
        // transformers takes an absent one for the family's, which is this.
        let activation = self.get("hidden_act");
        if !activation.is_null() && activation != "silu" {
            return Err(self.wrong("hidden_act", "\"silu\"", activation));
        }
        for (name, plain) in PLAIN {
            // Qwen2 has biases whatever the field says.
            let matters = name != "attention_bias" || architecture != Architecture::Qwen2;
            if matters {
                self.expect(name, plain)?;
            }
        }
        let layers = self.get("layer_types").as_array().into_iter().flatten();
        match layers.into_iter().find(|kind| *kind != "full_attention") {
            None => Ok(()),
            Some(other) => Err(self.wrong("layer_types", "\"full_attention\" for every layer", other)),
        }
    }

    fn expect(&self, name: &str, plain: Plain) -> Result<(), Error> {
        let found = self.get(name);
        let (is_plain, expected) = match plain {
            Plain::False => (found == &Value::Bool(false), "false".to_owned()),
            Plain::Number(number) => (found.as_f64() == Some(number), number.to_string()),
            Plain::Nothing => (false, "null".to_owned()),
        };
        if is_plain || found.is_null() {
            return Ok(());
        }
        let expected = format!("{expected}, as nothing else is supported: take another model");
        Err(self.wrong(name, &expected, found))
    }

    /// transformers takes an absent field for false, but for SmolLM3.
    fn ties(&self, architecture: Architecture) -> Result<bool, Error> {
        match self.get("tie_word_embeddings") {
            Value::Null => Ok(architecture == Architecture::SmolLm3),
            Value::Bool(ties) => Ok(*ties),
            other => Err(self.wrong("tie_word_embeddings", "true or false", other)),
        }
    }

    /// A token, several, or none.
    fn tokens(&self, name: &str, vocab_size: usize) -> Result<Vec<u32>, Error> {
        let found = self.get(name);
        let all = match found {
            Value::Null => &[],
            Value::Array(all) => all.as_slice(),
            single => std::slice::from_ref(single),
        };
        let token = |value: &Value| {
            let token = u32::try_from(value.as_u64()?).ok()?;
            ((token as usize) < vocab_size).then_some(token)
        };
        let tokens: Option<Vec<u32>> = all.iter().map(token).collect();
        let expected = || format!("numbers of tokens, below vocab_size = {vocab_size}");
        tokens.ok_or_else(|| self.wrong(name, &expected(), found))
    }

    /// The rotary settings and what they are called: `rope_parameters` of transformers 5, or `rope_scaling`
    /// of versions before.
    fn rope(&self) -> Result<Option<Named<'_>>, Error> {
        for name in ["rope_parameters", "rope_scaling"] {
            match self.get(name) {
                Value::Null => {}
                Value::Object(fields) => return Ok(Some((name, fields))),
                other => return Err(self.wrong(name, "an object, or null", other)),
            }
        }
        Ok(None)
    }

    fn rope_theta(&self) -> Result<f64, Error> {
        match self.rope()? {
            Some((name, fields)) if fields.contains_key("rope_theta") => {
                Fields { path: self.path, fields }.number_within(name, "rope_theta")
            }
            _ => self.number_or("rope_theta", 10_000.0),
        }
    }

    fn rope_scaling(&self) -> Result<RopeScaling, Error> {
        let Some((name, fields)) = self.rope()? else { return Ok(RopeScaling::None) };
        let rope = Fields { path: self.path, fields };
        let kind = fields.get("rope_type").or_else(|| fields.get("type")).unwrap_or(&Value::Null);
        let number = |field: &str| rope.number_within(name, field);
        match kind.as_str() {
            Some("default") => Ok(RopeScaling::None),
            // Version 5 writes the base alone where nothing is scaled.
            None if kind.is_null() && !fields.contains_key("factor") => Ok(RopeScaling::None),
            Some("linear") => Ok(RopeScaling::Linear { factor: number("factor")? }),
            Some("llama3") => Ok(RopeScaling::Llama3 {
                factor: number("factor")?,
                low_frequency_factor: number("low_freq_factor")?,
                high_frequency_factor: number("high_freq_factor")?,
                original_positions: number("original_max_position_embeddings")? as usize,
            }),
            _ => Err(self.wrong(&format!("{name}.rope_type"), "default, linear or llama3", kind)),
        }
    }

    fn layers_without_rope(&self, architecture: Architecture, layers: usize) -> Result<Vec<usize>, Error> {
        if architecture != Architecture::SmolLm3 {
            return Ok(Vec::new());
        }
        let Some(flags) = self.get("no_rope_layers").as_array() else {
            return Ok(every_nth(self.count_or("no_rope_layer_interval", 4)?, layers));
        };
        if flags.len() != layers {
            let message = format!("no_rope_layers: expected {layers} numbers, found {}", flags.len());
            return Err(Error::invalid(self.path, message));
        }
        Ok((0..layers).filter(|&layer| flags[layer] == 0).collect())
    }

    fn count(&self, name: &str) -> Result<usize, Error> {
        let value = self.get(name).as_u64().filter(|&value| value > 0);
        let value = value.and_then(|value| usize::try_from(value).ok());
        value.ok_or_else(|| self.wrong(name, "a positive integer", self.get(name)))
    }

    fn count_or(&self, name: &str, default: usize) -> Result<usize, Error> {
        if self.get(name).is_null() { Ok(default) } else { self.count(name) }
    }

    fn number_or(&self, name: &str, default: f64) -> Result<f64, Error> {
        match self.get(name) {
            Value::Null => Ok(default),
            value => value.as_f64().ok_or_else(|| self.wrong(name, "a number", value)),
        }
    }

    /// A number of an object within the file.
    fn number_within(&self, object: &str, name: &str) -> Result<f64, Error> {
        let found = self.get(name);
        found.as_f64().ok_or_else(|| self.wrong(&format!("{object}.{name}"), "a number", found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is said of a small model with some fields changed.
    fn refused(changes: Value) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let mut fields = Config { architecture: Architecture::Llama, ..Config::tiny() }.to_json();
        for (name, value) in changes.as_object().expect("fields") {
            fields[name] = value.clone();
        }
        std::fs::write(directory.path().join("config.json"), fields.to_string()).expect("written");
        load(directory.path()).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_would_change_the_computation_is_refused_by_name() {
        for plain in [
            json!({}),
            json!({"num_local_experts": null, "logit_scale": 1, "attention_bias": false}),
            json!({"layer_types": ["full_attention", "full_attention"], "pad_token_id": -1}),
            json!({"rope_scaling": {"rope_type": "default"}, "partial_rotary_factor": 1.0}),
            json!({"rope_scaling": null, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}),
        ] {
            assert_eq!(refused(plain.clone()), "", "{plain}");
        }
        for (field, value) in [
            ("num_local_experts", json!(8)),
            ("logit_scale", json!(0.0625)),
            ("final_logit_softcapping", json!(30.0)),
            ("clip_qkv", json!(8.0)),
            ("quantization_config", json!({"quant_method": "gptq", "bits": 4})),
            ("use_sliding_window", json!(true)),
            ("layer_types", json!(["full_attention", "sliding_attention"])),
            ("attention_bias", json!(true)),
            ("tie_word_embeddings", json!("yes")),
            ("rope_theta", json!(0)),
            ("rope_theta", json!(-1)),
            ("rms_norm_eps", json!(0)),
            ("rms_norm_eps", json!(1e300)),
            ("eos_token_id", json!(1_000_000_000)),
            ("eos_token_id", json!(-1)),
            ("eos_token_id", json!("x")),
            ("bos_token_id", json!(64)),
            ("pad_token_id", json!(-2)),
            ("rope_scaling", json!("x")),
            ("rope_scaling", json!([])),
            ("rope_scaling.rope_type", json!({"rope_type": "yarn", "factor": 4.0})),
            ("rope_scaling.rope_type", json!({"factor": 4.0})),
            ("rope_scaling.rope_type", json!({"type": 5})),
            ("rope_scaling.factor", json!({"type": "linear", "factor": -2.0})),
            ("rope_scaling.factor", json!({"type": "linear"})),
        ] {
            let name = field.split('.').next().expect("a name");
            let message = refused(json!({name: value.clone()}));
            assert!(
                message.contains(&format!("config.json: {field}: expected ")),
                "{field} {value}: {message}"
            );
        }
    }

    #[test]
    fn a_page_of_the_web_is_no_configuration() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("config.json"), "<html>404</html>").expect("written");
        let message = load(directory.path()).expect_err("refused").to_string();
        assert!(message.contains("a page of the web"), "{message}");
    }
}
