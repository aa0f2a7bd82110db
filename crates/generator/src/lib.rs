//! Prompt in, candidates out.
//!
//! A [`Generator`] is a model with its tokenizer and its way to be asked. It turns what problems show
//! into prompts, samples completions, and has the problems' domain find the solutions in them.
//!
//! ```no_run
//! use generator::{Generator, Request, Sampling};
//! use std::ops::ControlFlow;
//! use transformer::Cpu;
//!
//! let generator = Generator::open("models/basics".as_ref(), &Cpu::default())?;
//! let problems = problems::basics::World::new().problems(records::Split::Test, 1, 0);
//! let request = Request { samples: 5, ..Request::default() };
//! // How a domain finds a solution in a completion; here, all of it is the solution.
//! let extract = |_: &records::Problem, completion: &str| completion.to_owned();
//! generator.generate(&problems, &request, &extract, &mut |candidate| {
//!     println!("{}", candidate.code);
//!     ControlFlow::Continue(())
//! })?;
//! # Ok::<(), anyhow::Error>(())
//! ```

pub mod engine;
mod reviewer;

use anyhow::{Context, Result, ensure};
use engine::Completion;
use problems::prompt::{
    ANSWER_CLOSING, ChatTemplate, Message, PromptFormat, PromptTests, TemplateError, TemplateProblem,
    comment_prompt, comment_prompt_of,
};
use records::{Candidate, FinishReason, Problem, Shown};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use transformer::decode::{self, Settings, decode};
use transformer::device::{Device, Reader};
use transformer::head::{Prediction, Target};
use transformer::lora::Adapters;
use transformer::{Checkpoint, Config, Model, PackedBatch, Tokenizer};

pub use engine::Engine;
pub use transformer::adjustments::Adjustments;
pub use transformer::sampling::Sampling;

/// A model that can be asked for programs.
pub struct Generator {
    reader: Mutex<Box<dyn Reader>>,
    config: Config,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// What candidates are marked with.
    pub name: String,
    prompter: Prompter,
    /// Which model's weights it has ([`Checkpoint::fingerprint`]); none where they are not from a file.
    pub fingerprint: Option<String>,
}

/// How a model is asked.
#[derive(Clone)]
enum Prompter {
    Comment,
    Chat(Arc<ChatTemplate>),
}

/// Finds the solution in what a model wrote for a problem: a domain's work.
/// It is given the text of the answer alone, without the fence that closes a chat's.
pub type Extract<'a> = dyn Fn(&Problem, &str) -> String + 'a;

/// What is wanted of each problem.
#[derive(Clone, Debug)]
pub struct Request {
    /// Candidates a problem.
    pub samples: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Longest completion, in tokens.
    pub max_new_tokens: usize,
    /// Sequences in flight; 0 leaves it to the device.
    pub max_sequences: usize,
    /// Seed; a candidate depends on it, its problem and its index only.
    pub seed: u64,
    /// Tests that the prompt shows.
    pub tests: PromptTests,
}

impl Default for Request {
    fn default() -> Self {
        Request {
            samples: 1,
            sampling: Sampling { temperature: 0.8, top_p: 0.95, ..Sampling::PLAIN },
            max_new_tokens: 512,
            max_sequences: 0,
            seed: 0,
            tests: PromptTests::Visible,
        }
    }
}

impl Generator {
    /// Reads a model, a directory or a GGUF file, to run on a device.
    ///
    /// # Errors
    /// Where the model, its tokenizer or its chat template is missing, damaged, or does not fit.
    pub fn load(path: &Path, format: PromptFormat, device: &dyn Device) -> Result<Self> {
        Self::read(path, device, |checkpoint| prompter(checkpoint, format))
    }

    /// Refuses what [`load`](Self::load) would refuse, without reading the weights.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn check(path: &Path, format: PromptFormat, device: &dyn Device) -> Result<Config> {
        let checkpoint = Checkpoint::open(path).context("cannot load the generator")?;
        device.check_room(&checkpoint).context("cannot run the generator")?;
        prompter(&checkpoint, format)?;
        checkpoint.tokenizer().context("cannot load the generator")?;
        Ok(checkpoint.config().clone())
    }

    /// Reads a model; it is asked as a chat where it has a template for that.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn open(path: &Path, device: &dyn Device) -> Result<Self> {
        Self::read(path, device, |checkpoint| {
            Ok(chat_template(checkpoint)?.map_or(Prompter::Comment, Prompter::Chat))
        })
    }

    fn read(
        path: &Path,
        device: &dyn Device,
        prompter: impl Fn(&Checkpoint) -> Result<Prompter>,
    ) -> Result<Self> {
        let checkpoint = Checkpoint::open(path).context("cannot load the generator")?;
        // Before the tokenizer, which takes much memory itself.
        device.check_room(&checkpoint).context("cannot run the generator")?;
        let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
        let name = name.map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
        // Its process is a copy of this one, which is small still.
        let prompter = prompter(&checkpoint)?;
        let tokenizer = checkpoint.tokenizer().context("cannot load the generator")?;
        let reader = device.open(&checkpoint).context("cannot run the generator")?;
        let fingerprint = Some(checkpoint.fingerprint().context("cannot load the generator")?);
        Ok(Generator { prompter, fingerprint, ..Generator::new(reader, tokenizer, name) })
    }

    /// A generator of a model that is there already, asked in comments.
    pub fn new(reader: Box<dyn Reader>, tokenizer: Tokenizer, name: impl Into<String>) -> Self {
        let config = reader.config().clone();
        Generator {
            reader: Mutex::new(reader),
            config,
            tokenizer,
            name: name.into(),
            prompter: Prompter::Comment,
            fingerprint: None,
        }
    }

    /// The same model with adapters, asked in the same way; on the processor the two share weights that
    /// are kept as their file has them. Not while an [`Engine`] runs this one.
    ///
    /// # Errors
    /// Where the adapters are for another model, or there is no room.
    pub fn adapted(&self, adapters: &Adapters, name: impl Into<String>) -> Result<Self> {
        let reader = self.with_reader(|reader| reader.adapted(adapters)).context("cannot run the policy")?;
        Ok(Generator {
            prompter: self.prompter.clone(),
            fingerprint: self.fingerprint.clone(),
            ..Generator::new(reader, self.tokenizer.clone(), name)
        })
    }

    /// What `work` makes of the model itself: readers with other adapters. Not while an [`Engine`] runs it.
    pub fn with_reader<T>(&self, work: impl FnOnce(&dyn Reader) -> T) -> T {
        work(&**self.reader())
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The model's weights.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn model(&self) -> Result<Model> {
        Ok(self.reader().model()?.into_owned())
    }

    /// What the model says of each target.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn predictions(&self, batch: &PackedBatch, targets: &[Target]) -> Result<Vec<Prediction>> {
        Ok(self.reader().predictions(batch, targets)?)
    }

    /// The model itself, for one at a time.
    fn reader(&self) -> MutexGuard<'_, Box<dyn Reader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text that the model continues.
    ///
    /// # Errors
    /// Where the model's chat template refuses it.
    pub fn prompt(&self, shown: &Shown, tests: PromptTests) -> Result<String> {
        self.prompt_unless(&|| false, shown, tests)
    }

    /// As [`prompt`](Self::prompt), given up once `stops` is true.
    ///
    /// # Errors
    /// Where the model's chat template refuses it, or it was given up.
    pub fn prompt_unless(
        &self,
        stops: &dyn Fn() -> bool,
        shown: &Shown,
        tests: PromptTests,
    ) -> Result<String> {
        match &self.prompter {
            Prompter::Comment => Ok(comment_prompt(shown, tests)),
            Prompter::Chat(template) => Ok(template.protocol_prompt(shown, tests, stops)?),
        }
    }

    /// The tokens of a text that the model continues. A chat template writes the token that begins a text
    /// itself; to other texts the model's tokenizer adds it, if its model was trained so.
    pub fn prompt_tokens(&self, prompt: &str) -> Vec<u32> {
        match self.prompter {
            Prompter::Comment => self.tokenizer.encode_whole(prompt),
            Prompter::Chat(_) => self.tokenizer.encode(prompt),
        }
    }

    /// Samples candidates for every problem; `on_candidate` takes each as it is finished, in any
    /// order, and may break off.
    ///
    /// # Errors
    /// Where a prompt cannot be made, or the device fails.
    pub fn generate(
        &self,
        problems: &[Problem],
        request: &Request,
        extract: &Extract,
        on_candidate: &mut dyn FnMut(Candidate) -> ControlFlow<()>,
    ) -> Result<()> {
        self.generate_by(&mut **self.reader(), problems, request, extract, on_candidate)
    }

    /// As [`generate`](Self::generate), by another model that is asked in the same way: the one that is
    /// being trained.
    ///
    /// # Errors
    /// Where a prompt cannot be made, or the device fails.
    pub fn generate_by(
        &self,
        reader: &mut dyn Reader,
        problems: &[Problem],
        request: &Request,
        extract: &Extract,
        on_candidate: &mut dyn FnMut(Candidate) -> ControlFlow<()>,
    ) -> Result<()> {
        let all: Vec<(&Problem, usize, usize)> =
            problems.iter().map(|problem| (problem, 0, request.samples)).collect();
        self.sample(reader, &all, request, extract, on_candidate)
    }

    /// As [`generate`](Self::generate), for the candidates `first..first + count` of each problem:
    /// what an interrupted run still lacks.
    ///
    /// # Errors
    /// Where a prompt cannot be made, or the device fails.
    pub fn generate_some(
        &self,
        wanted: &[(&Problem, usize, usize)],
        request: &Request,
        extract: &Extract,
        on_candidate: &mut dyn FnMut(Candidate) -> ControlFlow<()>,
    ) -> Result<()> {
        self.sample(&mut **self.reader(), wanted, request, extract, on_candidate)
    }

    fn sample(
        &self,
        reader: &mut dyn Reader,
        wanted: &[(&Problem, usize, usize)],
        request: &Request,
        extract: &Extract,
        on_candidate: &mut dyn FnMut(Candidate) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut requests = Vec::with_capacity(wanted.len());
        for &(problem, first, count) in wanted {
            let prompt = self.prompt_tokens(&self.prompt(&problem.shown, request.tests)?);
            let (tokens, context) = (prompt.len(), self.config.max_position_embeddings);
            ensure!(
                tokens < context,
                "{}: its prompt has {tokens} tokens, of {context} that the model takes: leave the problem out, \
                 or take a model with a longer context",
                problem.id
            );
            requests.push(decode::Request {
                prompt,
                samples: count,
                stream: stream_of(&problem.id).wrapping_add(first as u64),
            });
        }
        let settings = Settings {
            sampling: request.sampling,
            max_new_tokens: request.max_new_tokens,
            seed: request.seed,
            max_sequences: request.max_sequences,
        };
        let mut decoder = reader.decoder()?;
        let _ = decode(&mut *decoder, &requests, &settings, &|tokens| self.stops(tokens), &mut |sample| {
            let (problem, first, _) = wanted[sample.request];
            let completion = Completion {
                index: first + sample.index,
                text: self.tokenizer.decode(&sample.tokens),
                tokens: sample.tokens,
                log_probabilities: sample.log_probabilities,
                stopped: sample.stopped,
            };
            on_candidate(self.candidate(problem, completion, request.seed, extract))
        })?;
        Ok(())
    }

    /// Whether the last tokens complete the closing fence.
    fn stops(&self, tokens: &[u32]) -> bool {
        match self.prompter {
            Prompter::Comment => false,
            Prompter::Chat(_) => {
                let tail = &tokens[tokens.len().saturating_sub(4)..];
                self.tokenizer.decode(tail).contains(ANSWER_CLOSING)
            }
        }
    }

    /// Whether the model has a chat template.
    pub fn can_chat(&self) -> bool {
        matches!(self.prompter, Prompter::Chat(_))
    }

    /// The tests to show of a question: a chat model is helped by all of them, as in the published
    /// protocol; a model that is asked in comments has learned with one.
    pub fn shown_tests(&self) -> PromptTests {
        match self.prompter {
            Prompter::Comment => PromptTests::Visible,
            Prompter::Chat(_) => PromptTests::All,
        }
    }

    /// Texts that end an answer, besides the model's own end tokens.
    pub fn stop_strings(&self) -> Vec<String> {
        match self.prompter {
            Prompter::Comment => Vec::new(),
            Prompter::Chat(_) => vec![ANSWER_CLOSING.to_owned()],
        }
    }

    /// A completion of a problem's prompt as a candidate.
    pub fn candidate(
        &self,
        problem: &Problem,
        completion: Completion,
        seed: u64,
        extract: &Extract,
    ) -> Candidate {
        // The prompt of a chat opened the fence, so what follows the next one is not code.
        let body = match self.prompter {
            Prompter::Comment => completion.text.as_str(),
            Prompter::Chat(_) => completion.text.split(ANSWER_CLOSING).next().unwrap_or(&completion.text),
        };
        Candidate {
            problem: problem.id.clone(),
            index: completion.index,
            code: extract(problem, body),
            tokens: completion.tokens,
            log_probabilities: completion.log_probabilities,
            summed_likelihood: None,
            finish_reason: if completion.stopped { FinishReason::Stop } else { FinishReason::Length },
            generator: self.name.clone(),
            seed,
            text: completion.text,
        }
    }

    /// A conversation as the model expects it, the assistant's turn opened; for a model without a
    /// chat template, what was said last as a comment. It is given up once `stops` is true.
    ///
    /// # Errors
    /// Where the template refuses these messages, or it was given up.
    pub fn conversation(&self, messages: &[Message], stops: &dyn Fn() -> bool) -> Result<String> {
        match &self.prompter {
            Prompter::Comment => {
                let last = messages.last().map_or("", |message| message.content.as_str());
                Ok(comment_prompt_of(last, std::iter::empty()))
            }
            Prompter::Chat(template) => Ok(template.render(messages, stops)?),
        }
    }
}

/// How a model is asked in this form.
fn prompter(checkpoint: &Checkpoint, format: PromptFormat) -> Result<Prompter> {
    match format {
        PromptFormat::Comment => Ok(Prompter::Comment),
        PromptFormat::Chat => {
            let path = checkpoint.path().to_owned();
            let missing = || TemplateError { path, problem: TemplateProblem::Missing };
            Ok(Prompter::Chat(chat_template(checkpoint)?.ok_or_else(missing)?))
        }
    }
}

/// The chat template of a model, if it has one.
fn chat_template(checkpoint: &Checkpoint) -> Result<Option<Arc<ChatTemplate>>> {
    let path = checkpoint.path();
    let found = match checkpoint.gguf() {
        None => ChatTemplate::load(path)?,
        Some(file) => ChatTemplate::of(path, &transformer::tokenizer::gguf::settings(file)?)?,
    };
    Ok(found.map(Arc::new))
}

/// The first random stream of a problem (FNV-1a of its id, spread so that the streams of different
/// problems do not overlap).
fn stream_of(id: &str) -> u64 {
    let hash = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    hash << 20
}
