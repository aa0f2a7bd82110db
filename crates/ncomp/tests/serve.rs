//! `ncomp serve` under use and abuse: whatever happens, the next request is answered.

mod support;

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Reply, Running, agent, descendants, fenced, ncomp, other_server, stderr, wait_until};

fn chat(text: &str, ours: Value) -> Value {
    json!({"messages": [{"role": "user", "content": text}], "ncomp": ours})
}

fn twice(body: &str) -> String {
    fenced(&format!("def twice(n):\n    {body}"))
}

/// A service on another server that doubles rightly once in three.
fn doubling_service() -> Running {
    let url =
        other_server(|_| Reply::Texts(vec![twice("return n * n"), twice("return n + n"), twice("return n")]));
    Running::start(&["serve", "--generator", &url])
}

#[test]
fn a_plain_client_gets_a_checked_answer() {
    let service = doubling_service();
    // The tests stand in the message, as people write them.
    let question = "Double a number.\nassert twice(2) == 4\nassert twice(5) == 10";
    let (status, reply) = service.post(
        "/v1/chat/completions",
        &json!({"model": "any", "messages": [{"role": "user", "content": question}]}),
    );
    assert_eq!(status, 200, "{reply}");
    assert_eq!(reply["choices"][0]["message"]["content"], "```python\ndef twice(n):\n    return n + n\n```");
    assert_eq!(
        (&reply["ncomp"]["status"], &reply["ncomp"]["evidence"]["tests_passed"]),
        (&"verified".into(), &2.into())
    );
    // Another way to choose: of the three programs, `return n` is shortest.
    let ours = json!({"selector": "shortest", "until": 1.0});
    let shortest = service.post("/v1/chat/completions", &chat("Something.", ours)).1;
    let content = shortest["choices"][0]["message"]["content"].as_str().expect("text");
    assert!(content.ends_with("return n\n```"), "{content}");
    assert_eq!(service.get("/v1/models").0, 200);
    assert!(service.metric("ncomp_candidates_total") >= 3.0);
}

#[test]
fn what_is_asked_for_wrongly_is_told() {
    let service = Running::start(&["serve", "--max-candidates", "30", "--max-tokens", "64"]);
    for (body, field) in [
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "user", "content": 5}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": "x"}], "temperature": 9}), "temperature"),
        (json!({"messages": [{"role": "user", "content": "x"}], "top_p": 0}), "top_p"),
        (json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 65}), "max_tokens"),
        (json!({"messages": [{"role": "user", "content": "x"}], "n": 0}), "n"),
        (json!({"messages": [{"role": "user", "content": "x"}], "stop": 3}), "stop"),
        (json!({"messages": [{"role": "user", "content": "x"}], "top_logprobs": 2}), "top_logprobs"),
        (json!({"messages": [{"role": "user", "content": "x"}], "presence_penalty": 5}), "presence_penalty"),
        (json!({"messages": [{"role": "user", "content": "x"}], "logit_bias": {"99999": 9}}), "logit_bias"),
        (json!({"messages": [{"role": "user", "content": "x"}], "logit_bias": {"5": []}}), "logit_bias.5"),
        (json!({"messages": [{"role": "user", "content": "x"}], "repeat_penalty": 1.1}), "repeat_penalty"),
        (
            json!({"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_object"}}),
            "response_format",
        ),
        (json!({"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]}), "tools"),
        (chat("x", json!({"candidates": 31})), "ncomp.candidates"),
        (chat("x", json!({"budget_seconds": 0})), "ncomp.budget_seconds"),
        (chat("x", json!({"selector": "oracle"})), "ncomp.selector"),
        (chat("x", json!({"tests": ["assert f(1"]})), "ncomp.tests"),
        (chat("x", json!({"tests": ["f(1) == 2"]})), "ncomp.tests"),
        (chat("x", json!({"tests": ["x = 1"]})), "ncomp.tests"),
        (chat(&"long ".repeat(3000), json!({})), "messages"),
    ] {
        let (status, reply) = service.post("/v1/chat/completions", &body);
        assert_eq!((status, &reply["error"]["param"]), (400, &field.into()), "{field}: {reply}");
    }
    for (body, field) in [
        (json!({"messages": [{"role": "user", "content": "x"}], "n": "two"}), "n"),
        (
            json!({"messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 65}),
            "max_completion_tokens",
        ),
        (chat("x", json!({"candidates": "many"})), "ncomp.candidates"),
        (chat("x", json!({"tests": [5]})), "ncomp.tests[0]"),
        (chat("x", json!({"until": 2})), "ncomp.until"),
        (json!({}), "messages"),
    ] {
        let (status, reply) = service.post("/v1/chat/completions", &body);
        assert_eq!((status, &reply["error"]["param"]), (400, &field.into()), "{field}: {reply}");
        let message = reply["error"]["message"].as_str().expect("a message");
        assert!(message.starts_with(&format!("{field}: ")) && message.contains("expected"), "{message}");
    }
    let unknown = service.post("/v1/chat/completions", &chat("x", json!({"candidate": 3}))).1;
    assert!(unknown["error"]["message"].as_str().is_some_and(|m| m.contains("candidate")), "{unknown}");
    let (status, reply) = service.post("/v1/completions", &json!({"prompt": ""}));
    assert_eq!((status, &reply["error"]["param"]), (400, &"prompt".into()));
    for (field, value) in [("best_of", json!(3)), ("suffix", json!("x")), ("logprobs", json!(5))] {
        let (status, reply) = service.post("/v1/completions", &json!({"prompt": "x", field: value}));
        assert_eq!((status, &reply["error"]["param"]), (400, &field.into()), "{reply}");
    }
    let reply = service.post("/v1/completions", &json!({"prompt": [5]})).1;
    assert_eq!(reply["error"]["message"], "prompt: expected a text, or a list of one text");
    // Without any candidate there is nothing to answer with; the first may be there before anybody looks at
    // the clock.
    let ours = json!({"candidates": 30, "budget_seconds": 1e-6});
    let (status, reply) = service.post("/v1/chat/completions", &chat("Double.", ours));
    let message = reply["error"]["message"].as_str().unwrap_or_default();
    let is_none = status == 503 && message.contains("no candidate was written within 0.000001 s");
    let evidence = &reply["ncomp"]["evidence"];
    let is_early = status == 200
        && evidence["stopped_early"] == true
        && evidence["candidates"].as_u64().is_some_and(|count| (1..30).contains(&count));
    assert!(is_none || is_early, "{status} {reply}");
    assert_eq!(service.post_text("/v1/chat/completions", "{").0, 400);
    assert_eq!(service.get("/v1/nothing").0, 404);
    assert_eq!(service.get("/health").0, 200);
}

#[test]
fn plain_completions_and_streams_agree() {
    let service = Running::start(&["serve"]);
    let body = json!({"prompt": "# Given a list of integers, keep the positive values.\n", "max_tokens": 30, "n": 2, "seed": 4, "logprobs": 1, "stop": ["\n\n"]});
    let whole = service.post("/v1/completions", &body).1;
    let choice = &whole["choices"][1];
    let tokens = choice["logprobs"]["tokens"].as_array().expect("tokens");
    assert_eq!(choice["logprobs"]["token_logprobs"].as_array().map(Vec::len), Some(tokens.len()));
    assert_eq!(whole["usage"]["completion_tokens"].as_u64().map(|made| made > 0), Some(true));
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({"include_usage": true});
    let (status, text) = service.post_text("/v1/completions", &streamed.to_string());
    assert_eq!(status, 200);
    let chunks: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(chunks.last(), Some(&"[DONE]"));
    let mut texts = [String::new(), String::new()];
    let mut usage = Value::Null;
    for chunk in &chunks[..chunks.len() - 1] {
        let chunk: Value = serde_json::from_str(chunk).expect("JSON");
        if let Some(choice) = chunk["choices"].get(0) {
            texts[choice["index"].as_u64().expect("an index") as usize] +=
                choice["text"].as_str().expect("text");
        }
        usage = chunk["usage"].clone();
    }
    assert_eq!(texts[0], whole["choices"][0]["text"]);
    assert_eq!(texts[1], whole["choices"][1]["text"]);
    assert_eq!(usage, whole["usage"]);
}

#[test]
fn penalties_and_biases_change_what_is_drawn() {
    let service = Running::start(&["serve"]);
    let ask = |more: Value| {
        let mut body =
            json!({"prompt": "# Add two numbers.\n", "max_tokens": 24, "logprobs": 1, "temperature": 0});
        body.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
        let (status, reply) = service.post("/v1/completions", &body);
        assert_eq!(status, 200, "{reply}");
        let found = &reply["choices"][0]["logprobs"];
        let texts = |field: &str| found[field].as_array().expect("a list").clone();
        (texts("tokens"), texts("token_logprobs"))
    };
    let distinct = |(tokens, _): &(Vec<Value>, Vec<Value>)| {
        let texts = tokens.iter().map(|token| token.as_str().expect("text"));
        texts.collect::<std::collections::HashSet<_>>().len()
    };
    let plain = ask(json!({}));
    assert_eq!(ask(json!({"frequency_penalty": 0, "min_p": 0.0, "logit_bias": {}})), plain);
    assert_ne!(ask(json!({"repetition_penalty": 10})).0, plain.0);
    // A token that comes again and again, until it has come too often.
    let often = |more: Value| distinct(&ask(more));
    assert_eq!(often(json!({"logit_bias": {"65": 40}})), 1);
    assert!(often(json!({"logit_bias": {"65": 40}, "frequency_penalty": 2})) > 1);
    // A token that is forced comes with the log-probability that the model itself gives it.
    let forced = ask(json!({"logit_bias": {"65": 100}, "temperature": 1.0}));
    assert_eq!((forced.0.len(), distinct(&forced)), (24, 1));
    assert!(forced.1[0].as_f64().is_some_and(|value| value < -3.0), "{forced:?}");
    // Who names no seed gets another answer every time.
    let chance = || ask(json!({"temperature": 2, "top_p": 1, "repetition_penalty": 1.5}));
    assert_ne!(chance(), chance());
    // The likeliest alone, at any temperature.
    assert_eq!(ask(json!({"min_p": 1, "temperature": 2})).0, plain.0);
}

#[test]
fn who_sends_garbage_disturbs_nobody() {
    let service = doubling_service();
    let connect = || TcpStream::connect(service.address()).expect("a connection");
    // Not HTTP.
    connect().write_all(b"\x00\xff\x16\x03 what\r\n\r\n").expect("sent");
    // Half a request, and half a body: both stay open.
    let mut half = connect();
    half.write_all(b"POST /v1/chat/completions HT").expect("sent");
    let mut body = connect();
    body.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"mess")
        .expect("sent");
    // A gigabyte.
    let mut large = connect();
    large
        .write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1073741824\r\n\r\n")
        .expect("sent");
    let filler = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        if large.write_all(&filler).is_err() {
            break;
        }
    }
    let mut answer = String::new();
    let _ = large.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    let (status, reply) =
        service.post("/v1/chat/completions", &chat("Double.\nassert twice(3) == 6", json!({})));
    assert_eq!((status, &reply["ncomp"]["status"]), (200, &"verified".into()));
    drop((half, body));
}

#[test]
fn a_candidate_that_hangs_and_an_interpreter_that_dies_cost_no_answer() {
    let hanging = [twice("while True: pass"), twice("return n + n"), twice("import os; os._exit(1)")];
    let url = other_server(move |_| Reply::Texts(hanging.to_vec()));
    let service = Running::start(&["serve", "--generator", &url, "--timeout", "1"]);
    let ask = || {
        service.post(
            "/v1/chat/completions",
            &chat("Double.", json!({"candidates": 3, "tests": ["assert twice(3) == 6"]})),
        )
    };
    let (status, reply) = ask();
    assert_eq!((status, &reply["ncomp"]["status"]), (200, &"verified".into()), "{reply}");
    // Every process below it is an interpreter.
    let interpreters: Vec<String> = descendants(service.child.id()).iter().map(u32::to_string).collect();
    assert!(!interpreters.is_empty(), "there was no interpreter to kill");
    let kill = format!("kill -9 {}", interpreters.join(" "));
    let _ = Command::new("sh").args(["-c", &kill]).status();
    let (status, reply) = ask();
    assert_eq!((status, &reply["ncomp"]["status"]), (200, &"verified".into()), "{reply}");
}

/// What a client's test does to its interpreter reaches no other client's verdict.
#[test]
fn a_client_cannot_touch_the_verdicts_of_others() {
    let url = other_server(|_| Reply::Texts(vec![twice("return n * n")]));
    let service = Running::start(&["serve", "--generator", &url, "--workers", "1", "-n", "1"]);
    let status = |test: &str| {
        let ours = json!({"candidates": 2, "tests": [test]});
        let (code, reply) = service.post("/v1/chat/completions", &chat("Square.", ours));
        (code, reply["ncomp"]["status"].as_str().unwrap_or_default().to_owned())
    };
    let replace = "lambda *arguments, **named: True";
    let attacks = [
        format!("import __main__\nfor name in list(vars(__main__)):\n    vars(__main__)[name] = {replace}"),
        format!(
            "import builtins\nfor name in ('exec', 'eval', 'compile', 'abs'):\n    setattr(builtins, name, {replace})"
        ),
        format!(
            "import sys\nfor module in list(sys.modules.values()):\n    for name in ('check', 'judge', 'run', 'compare'):\n        try:\n            setattr(module, name, {replace})\n        except Exception:\n            pass"
        ),
        "import decimal\ndecimal.getcontext().prec = 2".to_owned(),
        "import sys\nsys.modules.clear()".to_owned(),
        "import os\nos._exit(0)".to_owned(),
        "while True:\n    pass".to_owned(),
    ];
    for attack in &attacks {
        // Whatever becomes of the attacker's own question.
        status(&format!("assert twice(3) == 9\n{attack}"));
        status(&format!("def check(candidate):\n    assert candidate(3) == 9\ncheck(twice)\n{attack}"));
        for impossible in ["assert twice(3) == 7", "assert abs(twice(3) - 7) < 1e-9"] {
            assert_eq!(status(impossible), (200, "none_found".to_owned()), "{impossible} after {attack}");
        }
        let decimal = "from decimal import Decimal\nassert twice(Decimal('1.25')) == Decimal('1.5625')";
        for right in ["assert twice(3) == 9", "assert abs(twice(3) - 9) < 1e-9", decimal] {
            assert_eq!(status(right), (200, "verified".to_owned()), "{right} after {attack}");
        }
    }
}

/// Eight clients whose tests loop, beside one with an easy question: with one lock for all it took half
/// a minute. What it takes is measured by `bench/fairness.py`.
#[test]
fn clients_whose_tests_loop_do_not_stall_others() {
    let url = other_server(|_| Reply::Texts(vec![twice("return n + n")]));
    let service = Running::start(&["serve", "--generator", &url, "--timeout", "1"]);
    let loops =
        json!({"candidates": 8, "until": 1.0, "tests": ["assert twice(3) == 6\nwhile True:\n    pass"]});
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| service.post("/v1/chat/completions", &chat("Double.", loops.clone())));
        }
        wait_until("all are under way", || service.metric("ncomp_questions") == 8.0);
        let started = Instant::now();
        let easy = json!({"candidates": 2, "tests": ["assert twice(3) == 6"]});
        let (status, reply) = service.post("/v1/chat/completions", &chat("Double.", easy));
        assert_eq!((status, &reply["ncomp"]["status"]), (200, &"verified".into()), "{reply}");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    });
}

#[test]
fn another_server_that_fails_is_named_and_tried_again() {
    let asked = AtomicUsize::new(0);
    let url = other_server(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        // Busy, then broken off: the third attempt succeeds.
        0 => Reply::Status(503),
        1 => Reply::BreakOff,
        2 => Reply::Texts(vec![twice("return n + n")]),
        // Refuses for good.
        _ => Reply::Status(400),
    });
    let service = Running::start(&["serve", "--generator", &url]);
    let ask = || {
        service.post(
            "/v1/chat/completions",
            &chat("Double.", json!({"candidates": 2, "tests": ["assert twice(3) == 6"]})),
        )
    };
    let (status, reply) = ask();
    // The first came, the second was refused: what is there is the answer, and the reason is told.
    assert_eq!((status, &reply["ncomp"]["status"]), (200, &"verified".into()), "{reply}");
    let (status, reply) = ask();
    assert_eq!(status, 502, "{reply}");
    assert!(
        reply["error"]["message"].as_str().is_some_and(|m| m.contains("400") && m.contains("127.0.0.1")),
        "{reply}"
    );
    assert_eq!(service.get("/health").0, 200);
}

#[test]
fn a_slow_server_costs_its_budget_and_no_more_and_too_much_is_refused() {
    let url = other_server(|_| Reply::Slow(Duration::from_millis(700), vec![twice("return n + n")]));
    let service = Running::start(&["serve", "--generator", &url, "--max-requests", "1"]);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let ours = json!({"candidates": 50, "budget_seconds": 1.5, "until": 1.0, "tests": ["assert twice(3) == 6"]});
            let started = Instant::now();
            (service.post("/v1/chat/completions", &chat("Double.", ours)), started.elapsed())
        });
        wait_until("the first is under way", || service.metric("ncomp_questions") > 0.0);
        let request = agent().post(format!("{}/v1/chat/completions", service.url));
        let refused = request.send(chat("Double.", json!({})).to_string()).expect("an answer");
        assert_eq!(refused.status(), 429);
        assert!(refused.headers().contains_key("retry-after"));
        let ((status, reply), took) = first.join().expect("an answer");
        assert_eq!((status, &reply["ncomp"]["status"]), (200, &"verified".into()), "{reply}");
        assert!(took < Duration::from_secs(6), "{took:?}");
    });
    // Who goes away gives the place back.
    let mut gone = TcpStream::connect(service.address()).expect("a connection");
    let body = chat("Double.", json!({"candidates": 100, "until": 1.0, "tests": ["assert twice(3) == 6"]}))
        .to_string();
    let head =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    gone.write_all((head + &body).as_bytes()).expect("sent");
    wait_until("it is under way", || service.metric("ncomp_questions") > 0.0);
    drop(gone);
    wait_until("its place is free", || service.metric("ncomp_questions") == 0.0);
}

#[test]
fn a_key_is_asked_for_where_there_is_one() {
    let service = Running::start(&["serve", "--api-key", "secret"]);
    let with = |key: &str| {
        let request = agent().get(format!("{}/v1/models", service.url));
        request.header("authorization", format!("Bearer {key}")).call().expect("an answer").status().as_u16()
    };
    assert_eq!((with("secret"), with("secre"), with("secret2"), with("")), (200, 401, 401, 401));
    assert_eq!((service.get("/v1/models").0, service.get("/health").0, service.get("/").0), (401, 200, 200));
}

#[test]
fn pages_of_other_sites_may_not_ask() {
    let service = Running::start(&["serve"]);
    let from = |origin: &str| {
        let request = agent().get(format!("{}/v1/models", service.url)).header("origin", origin);
        request.call().expect("an answer").status().as_u16()
    };
    assert_eq!((from(&service.url), from("http://evil.example"), from("null")), (200, 403, 403));
}

#[test]
fn a_conversation_is_passed_on_whole() {
    // Says what it was asked, as a program.
    let url = other_server(|body| {
        let said: Vec<&str> = body["messages"]
            .as_array()
            .expect("messages")
            .iter()
            .filter_map(|m| m["content"].as_str())
            .collect();
        Reply::Texts(vec![fenced(&format!("def said(n):\n    return {:?}", said.join("|")))])
    });
    let service = Running::start(&["serve", "--generator", &url, "-n", "2"]);
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    let messages = [
        said("system", "Be short."),
        said("user", "Double."),
        said("assistant", "2 * n"),
        said("user", "Now halve."),
    ];
    let reply = service.post("/v1/chat/completions", &json!({"messages": messages})).1;
    let content = reply["choices"][0]["message"]["content"].as_str().expect("text");
    assert!(content.contains("Be short.|Double.|2 * n|Now halve."), "{content}");
}

#[test]
fn it_ends_after_what_is_under_way() {
    let url = other_server(|_| Reply::Slow(Duration::from_millis(1500), vec![twice("return n + n")]));
    let mut service = Running::start(&["serve", "--generator", &url]);
    std::thread::scope(|scope| {
        let under_way = scope.spawn(|| {
            let ours = json!({"candidates": 2, "tests": ["assert twice(3) == 6"]});
            service.post("/v1/chat/completions", &chat("Double.", ours)).0
        });
        wait_until("it is under way", || service.metric("ncomp_questions") > 0.0);
        let pid = service.child.id().to_string();
        let kill = format!("kill -TERM {pid}");
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh").success());
        assert_eq!(under_way.join().expect("an answer"), 200);
    });
    assert!(service.child.wait().expect("an end").success());
}

#[test]
fn what_keeps_it_from_starting_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("config.json"), r#"{"model_type": "gemma"}"#).expect("written");
    let other = directory.path().display().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    for (arguments, expected) in [
        (&["--model", "models/none", "--port", "0"][..], "models/none"),
        (&["--model", &other, "--port", "0"], "model_type"),
        (&["--port", &port], "--port"),
        (&["--generator", "http://127.0.0.1:9", "--port", "0"], "cannot be reached"),
    ] {
        let output = ncomp(&[&["serve"], arguments].concat()).output().expect("ncomp");
        assert!(!output.status.success());
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
}
