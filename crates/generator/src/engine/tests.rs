//! The engine with a tiny model.

use super::worker::settled;
use super::*;
use std::collections::HashMap;
use transformer::Cpu;
use transformer::device::Device;
use transformer::{Config, Model, Tokenizer};

fn engine(max_sequences: usize, queue: usize) -> Engine {
    engine_of(max_sequences, queue, |_| {})
}

fn engine_of(max_sequences: usize, queue: usize, change: impl Fn(&mut Model)) -> Engine {
    let texts = ["def f(a, b):\n    return a + b\n", "# Add two numbers.\n"];
    let tokenizer = Tokenizer::train(texts.into_iter(), 300, &["<|endoftext|>"]).expect("a tokenizer");
    let config = Config { vocab_size: tokenizer.vocab_size(), eos_token_ids: vec![], ..Config::tiny() };
    let mut model = Model::random(config, 3);
    change(&mut model);
    let reader = Cpu::default().reader(model).expect("a reader");
    Engine::start(Generator::new(reader, tokenizer, "tiny"), max_sequences, queue)
}

fn job(samples: usize, seed: u64) -> Job {
    Job {
        prompt: vec![5, 6, 7],
        samples,
        sampling: Sampling::PLAIN,
        adjustments: None,
        max_new_tokens: 12,
        seed,
        stream: 0,
        stop: Vec::new(),
        pieces: true,
        deadline: None,
    }
}

fn collect(events: Events) -> (Vec<Completion>, HashMap<usize, String>) {
    let (mut finished, mut pieces): (Vec<Completion>, HashMap<usize, String>) = Default::default();
    for event in events {
        match event {
            Event::Piece { index, text } => pieces.entry(index).or_default().push_str(&text),
            Event::Finished(completion) => finished.push(completion),
            Event::Failed(message) => panic!("{message}"),
            Event::Late => panic!("late"),
        }
    }
    finished.sort_by_key(|completion| completion.index);
    (finished, pieces)
}

#[test]
fn a_completion_depends_on_its_seed_only_and_its_pieces_make_it_up() {
    let engine = engine(3, 100);
    let alone = collect(engine.submit(job(1, 7)).expect("room")).0;
    let together: Vec<_> = (0..4).map(|at| engine.submit(job(2, 7 + at)).expect("room")).collect();
    for (at, events) in together.into_iter().enumerate() {
        let (finished, pieces) = collect(events);
        assert_eq!(finished.len(), 2);
        for completion in &finished {
            assert_eq!(completion.tokens.len(), 12);
            assert_eq!(pieces[&completion.index], completion.text);
        }
        if at == 0 {
            assert_eq!(finished[0].tokens, alone[0].tokens);
        }
    }
    assert_eq!(engine.load().open.load(Ordering::Relaxed), 0);
}

#[test]
fn a_model_that_computes_no_numbers_is_told_and_asked_again() {
    let engine = engine_of(4, 100, |model| {
        model.weights.tensors_mut().into_iter().last().expect("a tensor").fill(f32::NAN);
    });
    for _ in 0..2 {
        let events: Vec<Event> = engine.submit(job(3, 1)).expect("room").collect();
        let [Event::Failed(message)] = events.as_slice() else { panic!("{events:?}") };
        assert!(message.contains("not finite") && message.contains("weights"), "{message}");
    }
    // A place is given back right after the last event.
    let started = std::time::Instant::now();
    while engine.load().open.load(Ordering::Relaxed) > 0 {
        assert!(started.elapsed().as_secs() < 20, "the place is not given back");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_stop_string_ends_a_completion_before_it() {
    let engine = engine(4, 100);
    let whole = collect(engine.submit(job(1, 7)).expect("room")).0.remove(0);
    let stop: String = whole.text.chars().skip(3).take(2).collect();
    let wanted = whole.text.find(&stop).expect("the stop string");
    let stopped = collect(engine.submit(Job { stop: vec![stop], ..job(1, 7) }).expect("room"));
    assert_eq!(stopped.0[0].text, whole.text[..wanted]);
    assert!(stopped.0[0].stopped);
    assert_eq!(stopped.1.get(&0).map_or("", String::as_str), stopped.0[0].text);
}

/// Of the letters a and b alone, whatever the model says.
fn of_two_letters(engine: &Engine, tokens: usize) -> Job {
    let letters = ["a", "b"].map(|letter| engine.generator().tokenizer.encode(letter)[0]);
    let bias = letters.map(|letter| (letter, 100.0)).to_vec();
    let adjustments = Adjustments { bias, ..Adjustments::default() };
    Job { adjustments: Some(Arc::new(adjustments)), max_new_tokens: tokens, ..job(1, 7) }
}

#[test]
fn a_stop_string_may_be_longer_than_any_tail() {
    let engine = engine(4, 100);
    let asked = of_two_letters(&engine, 80);
    let whole = collect(engine.submit(asked.clone()).expect("room")).0.remove(0);
    assert_eq!(whole.text.len(), 80);
    assert!(whole.text.chars().all(|letter| "ab".contains(letter)) && whole.text.contains("ab"));
    let stop = whole.text[10..60].to_owned();
    let stopped = collect(engine.submit(Job { stop: vec![stop], ..asked }).expect("room")).0.remove(0);
    assert_eq!((stopped.text.len(), stopped.tokens.len(), stopped.stopped), (10, 60, true));
}

#[test]
fn who_waits_no_longer_gives_the_place_back() {
    let engine = engine(1, 1);
    let endless = Job { max_new_tokens: 1_000_000, ..job(2, 1) };
    let events = engine.submit(endless).expect("room");
    assert!(matches!(engine.submit(job(1, 2)), Err(Refused::Full { waiting: 2 })));
    drop(events);
    let started = std::time::Instant::now();
    while engine.submit(job(1, 2)).is_err() {
        assert!(started.elapsed().as_secs() < 20, "the place is not given back");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn nothing_of_a_stop_string_is_shown() {
    let stop = ["\n\n".to_owned(), "```".to_owned()];
    assert_eq!(settled("a\n", &stop), 1);
    assert_eq!(settled("a ``", &stop), 2);
    assert_eq!(settled("a ``` b", &stop), 2);
    assert_eq!(settled("é\u{fffd}", &stop), 2);
    assert_eq!(settled("", &stop), 0);
}

/// Seconds until something is true; the test fails where it never is.
fn wait(is_true: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_true() {
        assert!(started.elapsed().as_secs() < 20, "it never became true");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A prompt of so many tokens.
fn long(tokens: usize, seed: u64) -> Job {
    Job { prompt: (0..tokens as u32).map(|at| at * 7 % 250).collect(), ..job(1, seed) }
}

#[test]
fn a_long_prompt_lets_others_have_their_turns() {
    let engine = engine(4, 100);
    let alone = collect(engine.submit(job(1, 7)).expect("room")).0.remove(0);
    let long = engine.submit(long(100_000, 1)).expect("room");
    wait(|| engine.load().open.load(Ordering::Relaxed) == 1);
    let short = collect(engine.submit(job(1, 7)).expect("room")).0.remove(0);
    assert_eq!(short.tokens, alone.tokens);
    // The long one is far from its first token.
    assert_eq!(engine.load().open.load(Ordering::Relaxed), 1);
    drop(long);
    wait(|| engine.load().open.load(Ordering::Relaxed) == 0);
}

#[test]
fn a_deadline_ends_what_has_begun_as_it_is_and_tells_what_has_not() {
    let engine = engine(2, 100);
    let soon = || Some(Instant::now() + Duration::from_millis(300));
    let endless = Job { max_new_tokens: 1_000_000, deadline: soon(), ..job(3, 1) };
    let finished = collect(engine.submit(endless).expect("room")).0;
    let made: Vec<(bool, bool)> =
        finished.iter().map(|completion| (completion.tokens.is_empty(), completion.stopped)).collect();
    // Two at once; the third never began.
    assert_eq!(made, [(false, false), (false, false), (true, false)]);
    let late = Job { deadline: soon(), ..long(100_000, 1) };
    let events: Vec<Event> = engine.submit(late).expect("room").collect();
    assert_eq!(events, [Event::Late]);
    wait(|| engine.load().open.load(Ordering::Relaxed) == 0);
}

#[test]
fn an_engine_that_stops_ends_what_has_not_begun() {
    let engine = engine(2, 100);
    let begun = engine.submit(Job { max_new_tokens: 300, ..job(1, 1) }).expect("room");
    wait(|| engine.load().tokens.load(Ordering::Relaxed) > 0);
    let waiting = engine.submit(long(100_000, 1)).expect("room");
    engine.stop();
    assert!(matches!(engine.submit(job(1, 2)), Err(Refused::Stopping)));
    let events: Vec<Event> = waiting.collect();
    assert_eq!(events, [Event::Failed("the service is stopping".to_owned())]);
    assert_eq!(collect(begun).0[0].tokens.len(), 300);
}
