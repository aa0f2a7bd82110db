//! (Problem, program) in, probability of passing out.
//!
//! The critic is a copy of the generator's backbone with a head of its own: the hidden state of the
//! last token goes through Linear → ReLU → Linear to logits, the first of which says whether the program
//! passes; what the others say is up to its training. Its text is the problem's prompt, a line
//! `# Solution:` and the program. It never runs anything.
//!
//! On disk it is a Hugging Face directory: the backbone's files as always (`config.json`,
//! `model.safetensors`, `tokenizer.json`), and beside them `score_head.safetensors` with
//! `score.0.weight` `[width, hidden]`, `score.0.bias` `[width]`, `score.2.weight` `[outputs, width]`,
//! `score.2.bias` `[outputs]`: in PyTorch, `Sequential(Linear, ReLU, Linear)`. Where adapters were trained, a
//! directory of PEFT's two files and the head is enough beside the model that they were trained on
//! ([`Critic::attach`]): on the processor the critic then shares that model's weights.
//!
//! Several critics of the same examples err differently: a directory may hold further ones in `2`, `3` and so
//! on ([`directory_of`]), and the logits of all of them are averaged.
//!
//! ```no_run
//! use critic::{Critic, Question};
//! use transformer::Cpu;
//!
//! let critic = Critic::load("runs/demo/critic".as_ref(), &Cpu::default())?;
//! let question = Question { prompt: "# Add two numbers.\n".into(), programs: vec!["def f(a, b):\n    return a + b\n".into()] };
//! println!("{:.2}", critic.score(&[question])?[0][0]);
//! # Ok::<(), anyhow::Error>(())
//! ```

mod head;

pub use head::{Head, HeadActivations};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use transformer::batch::split_by_rows;
use transformer::checkpoint::{Precision, TensorFiles, save_tensors};
use transformer::device::{Device, Reader};
use transformer::lora::Adapters;
use transformer::{Checkpoint, Model, PackedBatch, Tokenizer};

/// The file of the head.
const HEAD: &str = "score_head.safetensors";

/// Rows scored at once.
const ROWS: usize = 8192;

/// The network with its tokenizer.
pub struct Critic {
    /// The backbone; its output matrix is not used.
    backbone: Mutex<Box<dyn Reader>>,
    /// From its hidden states to logits.
    pub head: Head,
    /// The generator's tokenizer.
    pub tokenizer: Tokenizer,
    /// Longest text, in tokens; a longer one loses its beginning.
    pub max_tokens: usize,
    /// Critics whose logits are averaged with this one's.
    further: Vec<Critic>,
}

/// Where the critic of a number, from 0, of those in a directory is: the first is the directory itself.
pub fn directory_of(directory: &Path, number: usize) -> PathBuf {
    match number {
        0 => directory.to_owned(),
        number => directory.join((number + 1).to_string()),
    }
}

/// The directories of the further critics that a critic's directory has.
fn further(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let directory = directory.to_owned();
    (1..).map(move |number| directory_of(&directory, number)).take_while(|path| path.join(HEAD).exists())
}

/// A problem's prompt and the programs to judge.
#[derive(Clone, Debug)]
pub struct Question {
    /// The problem as a prompt shows it.
    pub prompt: String,
    /// The programs.
    pub programs: Vec<String>,
}

/// A question in tokens: the prompt is computed once for all its programs.
#[derive(Clone, Debug, Default)]
pub struct TokenizedQuestion {
    /// Tokens that all texts begin with.
    pub prefix: Vec<u32>,
    /// What follows it, one for each program; never empty.
    pub programs: Vec<Vec<u32>>,
}

impl Critic {
    /// A critic of a backbone and a head.
    pub fn new(backbone: Box<dyn Reader>, head: Head, tokenizer: Tokenizer) -> Self {
        Critic { backbone: Mutex::new(backbone), head, tokenizer, max_tokens: 512, further: Vec::new() }
    }

    /// Reads a critic's directory with the further ones in it, to run on a device.
    ///
    /// # Errors
    /// Where a file is missing, damaged or of another shape.
    pub fn load(directory: &Path, device: &dyn Device) -> Result<Self> {
        let mut critic = Self::load_one(directory, device)?;
        critic.further =
            further(directory).map(|path| Self::load_one(&path, device)).collect::<Result<_>>()?;
        Ok(critic)
    }

    fn load_one(directory: &Path, device: &dyn Device) -> Result<Self> {
        let (backbone, tokenizer) =
            Checkpoint::open_with_tokenizer(directory).context("cannot load the critic's backbone")?;
        let head = read_head(directory, backbone.config().hidden_size)?;
        let backbone = device.open(&backbone).context("cannot run the critic")?;
        Ok(Critic::new(backbone, head, tokenizer))
    }

    /// Reads a critic's directory of adapters and head, with the further ones in it, to run beside the model
    /// that they were trained on.
    ///
    /// # Errors
    /// Where a file is missing, damaged or of another shape.
    pub fn attach(directory: &Path, base: &dyn Reader, tokenizer: Tokenizer) -> Result<Self> {
        let attach = |path: PathBuf| Self::attach_one(&path, base, tokenizer.clone());
        let mut critic = attach(directory.to_owned())?;
        critic.further = further(directory).map(attach).collect::<Result<_>>()?;
        Ok(critic)
    }

    fn attach_one(directory: &Path, base: &dyn Reader, tokenizer: Tokenizer) -> Result<Self> {
        let head = read_head(directory, base.config().hidden_size)?;
        let adapters =
            Adapters::load(directory, base.config()).context("cannot load the critic's adapters")?;
        let backbone = base.adapted(&adapters).context("cannot run the critic")?;
        Ok(Critic::new(backbone, head, tokenizer))
    }

    /// The backbone itself, for one at a time.
    fn backbone(&self) -> MutexGuard<'_, Box<dyn Reader>> {
        self.backbone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many critics this is.
    pub fn count(&self) -> usize {
        1 + self.further.len()
    }

    /// The backbone's weights, of the first where there are several.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn model(&self) -> Result<Model> {
        Ok(self.backbone().model()?.into_owned())
    }

    /// Writes the critic's directory, of the first where there are several.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&self, directory: &Path, precision: Precision) -> Result<()> {
        self.backbone().model()?.save(directory, precision)?;
        self.tokenizer.save(directory)?;
        self.save_head(directory, precision)
    }

    /// Writes the directory that [`attach`](Self::attach) reads; `base` names the model beside which it runs.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save_adapted(
        &self,
        directory: &Path,
        adapters: &Adapters,
        base: &str,
        precision: Precision,
    ) -> Result<()> {
        adapters.save(directory, base, precision)?;
        self.save_head(directory, precision)
    }

    fn save_head(&self, directory: &Path, precision: Precision) -> Result<()> {
        let tensors = self.head.named();
        let tensors = tensors.into_iter().map(|(name, shape, tensor)| (name.to_owned(), shape, tensor));
        save_tensors(&directory.join(HEAD), tensors, precision)?;
        Ok(())
    }

    /// The question in tokens, each text cut from the left to the critic's length.
    pub fn tokenize(&self, question: &Question) -> TokenizedQuestion {
        let prefix = self.tokenizer.encode_whole(&format!("{}\n\n# Solution:\n", question.prompt.trim_end()));
        let programs = question.programs.iter().map(|program| {
            let mut tokens = self.tokenizer.encode(program);
            if tokens.is_empty() {
                tokens = self.tokenizer.encode("\n");
            }
            let excess = tokens.len().saturating_sub(self.max_tokens);
            tokens.drain(..excess);
            tokens
        });
        let programs: Vec<Vec<u32>> = programs.collect();
        let longest = programs.iter().map(Vec::len).max().unwrap_or(0);
        let room = self.max_tokens.saturating_sub(longest);
        let prefix = prefix[prefix.len().saturating_sub(room)..].to_vec();
        TokenizedQuestion { prefix, programs }
    }

    /// Probability of passing, for each program of each question. Equal programs of a question are
    /// computed once.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn score(&self, questions: &[Question]) -> Result<Vec<Vec<f64>>> {
        let mut distinct = Vec::with_capacity(questions.len());
        let mut places = Vec::with_capacity(questions.len());
        for question in questions {
            let mut programs: Vec<String> = Vec::new();
            let mut index = std::collections::HashMap::new();
            let place = question.programs.iter().map(|program| {
                *index.entry(program.as_str()).or_insert_with(|| {
                    programs.push(program.clone());
                    programs.len() - 1
                })
            });
            places.push(place.collect::<Vec<usize>>());
            distinct.push(Question { prompt: question.prompt.clone(), programs });
        }
        let distinct: Vec<TokenizedQuestion> =
            distinct.par_iter().map(|question| self.tokenize(question)).collect();
        let logits = self.logits(&distinct)?;
        let spread = logits.into_iter().zip(places);
        Ok(spread
            .map(|(logits, places)| places.iter().map(|&at| probability(logits[at])).collect())
            .collect())
    }

    /// One logit for each program of each question: the mean of all critics'.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn logits(&self, questions: &[TokenizedQuestion]) -> Result<Vec<Vec<f32>>> {
        let mut mean = self.own_logits(questions)?;
        for critic in &self.further {
            let more = critic.own_logits(questions)?;
            let pairs = mean.iter_mut().flatten().zip(more.into_iter().flatten());
            pairs.for_each(|(sum, more)| *sum += more);
        }
        let count = self.count() as f32;
        mean.iter_mut().flatten().for_each(|logit| *logit /= count);
        Ok(mean)
    }

    fn own_logits(&self, questions: &[TokenizedQuestion]) -> Result<Vec<Vec<f32>>> {
        let mut logits = Vec::with_capacity(questions.len());
        let mut backbone = self.backbone();
        for group in split_by_rows(questions, TokenizedQuestion::rows, ROWS) {
            let (batch, last_rows) = pack(group);
            let pooled = backbone.hidden_rows(&batch, &last_rows)?;
            let outputs = self.head.outputs();
            // What else the head was taught is of no use here.
            let mut scores = self.head.forward(&pooled, None).logits.into_iter().step_by(outputs);
            logits
                .extend(group.iter().map(|question| scores.by_ref().take(question.programs.len()).collect()));
        }
        Ok(logits)
    }
}

/// Refuses a directory that [`Critic::load`] would refuse, without reading the backbone's weights. How many
/// logits the head has.
///
/// # Errors
/// Where a file is missing, damaged or of another shape.
pub fn check(directory: &Path) -> Result<usize> {
    let (backbone, _) =
        Checkpoint::open_with_tokenizer(directory).context("cannot load the critic's backbone")?;
    Ok(read_head(directory, backbone.config().hidden_size)?.outputs())
}

/// The head that a critic's directory has for hidden states of this size.
fn read_head(directory: &Path, hidden: usize) -> Result<Head> {
    let files = TensorFiles::open_file(&directory.join(HEAD)).context("cannot load the critic's head")?;
    let length = |name| Ok::<_, anyhow::Error>(files.shape(name)?.first().copied().unwrap_or(0));
    let (width, outputs) = (length("score.0.bias")?, length("score.2.bias")?);
    ensure!(outputs > 0, "score.2.bias: expected at least one number, found none");
    let mut head = Head::zeros(hidden, width, outputs);
    for (name, shape, tensor) in head.named_mut() {
        files.read(name, &shape, tensor)?;
        let is_damaged = tensor.iter().any(|number| !number.is_finite());
        ensure!(
            !is_damaged,
            "{name}: expected finite numbers, found others; fetch or train the critic again"
        );
    }
    Ok(head)
}

/// Logit to probability.
pub fn probability(logit: f32) -> f64 {
    1.0 / (1.0 + f64::from(-logit).exp())
}

impl TokenizedQuestion {
    /// Rows that the question takes in a batch.
    pub fn rows(&self) -> usize {
        self.prefix.len() + self.programs.iter().map(Vec::len).sum::<usize>()
    }
}

/// Questions as a batch, and the row of each program's last token.
pub fn pack(questions: &[TokenizedQuestion]) -> (PackedBatch, Vec<usize>) {
    let mut batch = PackedBatch::default();
    let mut last_rows = Vec::new();
    for question in questions {
        let rows = batch.push_tree(&question.prefix, question.programs.iter().map(Vec::as_slice));
        last_rows.extend(rows.into_iter().map(|rows| rows.end - 1));
    }
    (batch, last_rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use transformer::{Config, Cpu, Model};

    #[test]
    fn several_critics_in_a_directory_are_averaged() {
        let directory = tempfile::tempdir().expect("a directory");
        let texts = ["def f(a, b):\n    return a + b\n"];
        let tokenizer = Tokenizer::train(texts.into_iter(), 300, &["<|endoftext|>"]).expect("a tokenizer");
        let config = Config { vocab_size: tokenizer.vocab_size(), ..Config::tiny() };
        let device = Cpu::default();
        let one = |seed: u64| {
            let backbone = device.reader(Model::random(config.clone(), seed)).expect("a reader");
            Critic::new(backbone, Head::random(config.hidden_size, 8, 1, seed), tokenizer.clone())
        };
        let save = |critic: &Critic, number: usize| {
            let path = directory_of(directory.path(), number);
            critic.save(&path, Precision::F32).expect("saved");
        };
        let question = Question { prompt: "p".into(), programs: vec!["a".into(), "bc".into()] };
        let tokens = [one(1).tokenize(&question)];
        let own: Vec<Vec<f32>> =
            (1..4).map(|seed| one(seed).logits(&tokens).expect("logits").concat()).collect();
        save(&one(1), 0);
        save(&one(2), 1);
        save(&one(3), 2);
        let all = Critic::load(directory.path(), &device).expect("critics");
        assert_eq!(all.count(), 3);
        let found = all.logits(&tokens).expect("logits").concat();
        for (at, found) in found.iter().enumerate() {
            let mean = own.iter().map(|logits| logits[at]).sum::<f32>() / 3.0;
            assert!((found - mean).abs() < 1e-5, "{found} {mean} {own:?}");
            assert!(own.iter().all(|logits| (logits[at] - mean).abs() > 1e-4), "{own:?} tell nothing");
        }
    }
}
