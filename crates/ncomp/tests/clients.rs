//! Real clients: the openai package, and the page in a real Chromium.
//!
//! Both need what Cargo does not bring. `NCOMP_TEST_PYTHON` names a Python with the openai package;
//! Chromium and its driver are looked for on the path. Where they are missing the tests say that they
//! skip; `NCOMP_TEST_CLIENTS=require`, which CI sets, makes that an error.

mod support;

use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{Reply, Running, agent, fenced, ncomp, other_server, skip, wait_until};

#[test]
fn the_openai_package_works_unchanged() {
    let Ok(python) = std::env::var("NCOMP_TEST_PYTHON") else {
        return skip("a Python with the openai package (NCOMP_TEST_PYTHON)");
    };
    let service = Running::start(&["serve", "--api-key", "secret"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/openai_client.py");
    let output = Command::new(python).arg(script).arg(&service.url).output().expect("Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A browser, driven by the WebDriver protocol (W3C); ends with its owner.
struct Browser {
    driver: Child,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn start(width: u32) -> Option<Self> {
        let found = |name: &str| Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok();
        if !found("chromedriver") || !found("chromium") {
            skip("Chromium with its driver");
            return None;
        }
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("one").port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver");
        let profile = tempfile::tempdir().expect("a directory");
        let base = format!("http://127.0.0.1:{port}");
        wait_until("chromedriver listens", || agent().get(format!("{base}/status")).call().is_ok());
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-quic".into(),
            "--no-first-run".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            "--disable-dev-shm-usage".into(),
            format!("--window-size={width},1400"),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let options = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}});
        let mut browser = Browser { driver, session: format!("{base}/session"), _profile: profile };
        let id = browser.ask("", options)["sessionId"].as_str().expect("a session").to_owned();
        browser.session = format!("{base}/session/{id}");
        Some(browser)
    }

    fn ask(&self, path: &str, body: Value) -> Value {
        let request = agent().post(format!("{}{path}", self.session));
        let mut response = request.send(body.to_string()).expect("an answer of the driver");
        let answer: Value =
            serde_json::from_str(&response.body_mut().read_to_string().expect("a body")).expect("JSON");
        assert!(answer["value"].get("error").is_none(), "{path}: {answer}");
        answer["value"].clone()
    }

    fn open(&self, url: &str) {
        self.ask("/url", json!({"url": url}));
    }

    /// Runs a script in the page and returns what it returns.
    fn run(&self, script: &str) -> Value {
        self.ask("/execute/sync", json!({"script": script, "args": []}))
    }

    fn element(&self, selector: &str) -> String {
        let found = self.ask("/element", json!({"using": "css selector", "value": selector}));
        let id = found.as_object().and_then(|fields| fields.values().next()).and_then(Value::as_str);
        id.expect("an element").to_owned()
    }

    fn type_into(&self, selector: &str, text: &str) {
        let path = format!("/element/{}/value", self.element(selector));
        self.ask(&path, json!({"text": text}));
    }

    fn click(&self, selector: &str) {
        let path = format!("/element/{}/click", self.element(selector));
        self.ask(&path, json!({}));
    }

    /// Keeps a picture where somebody asked for it (`NCOMP_TEST_PICTURES`).
    fn picture(&self, name: &str) {
        let Ok(directory) = std::env::var("NCOMP_TEST_PICTURES") else { return };
        let mut response = agent().get(format!("{}/screenshot", self.session)).call().expect("a picture");
        let answer: Value =
            serde_json::from_str(&response.body_mut().read_to_string().expect("a body")).expect("JSON");
        let path = std::path::Path::new(&directory).join(format!("{name}.base64"));
        std::fs::write(path, answer["value"].as_str().expect("a picture")).expect("written");
    }

    fn wait_for(&self, script: &str) {
        wait_until(script, || self.run(&format!("return Boolean({script})")) == true);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = agent().delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Programs with markup that would show, if it were taken for such.
const HOSTILE: &str = "def twice(n):\n    '''</pre><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>'''\n    return";

#[test]
fn the_page_asks_shows_evidence_and_escapes() {
    let Some(browser) = Browser::start(1100) else { return };
    let bodies = [" n * n", " n + n", " '<b onclick=alert(1)>' * n"];
    let texts = move || bodies.map(|body| fenced(&format!("{HOSTILE}{body}"))).to_vec();
    let url = other_server(move |_| Reply::Slow(Duration::from_millis(100), texts()));
    let service = Running::start(&["serve", "--generator", &url]);
    browser.open(&service.url);
    browser.wait_for("!document.getElementById('ask').hidden");
    assert_eq!(
        browser.run("return document.getElementById('key').offsetParent === null"),
        true,
        "a key is asked for"
    );
    // By keyboard alone: the question has the focus, Tab goes to the tests, Ctrl+Enter asks.
    let (tab, control, enter) = ('\u{e004}', '\u{e009}', '\u{e007}');
    browser.type_into("#text", &format!("Double <i>a number</i>.{tab}"));
    assert_eq!(browser.run("return document.activeElement.id"), "tests");
    browser.type_into("#tests", &format!("assert twice(3) == 6{control}{enter}"));
    browser.wait_for("document.querySelector('#answer .verified')");
    let answer = browser.run("return document.querySelector('#answer').innerText");
    let answer = answer.as_str().expect("text");
    assert!(answer.contains("Verified") && answer.contains("return n + n"), "{answer}");
    assert!(answer.contains("verified by 1 of 1 tests"), "{answer}");
    // Every behaviour is there, with the test that it fails.
    assert_eq!(browser.run("return document.querySelectorAll('#list details').length"), 3);
    let list = browser.run("return document.querySelector('#list').textContent");
    let list = list.as_str().expect("text");
    assert!(list.contains("fails assert twice(3) == 6") && list.contains("wrong answer: 9"), "{list}");
    assert!(list.contains("</pre><img src=x"), "the markup is not shown as text: {list}");
    assert_eq!(
        browser
            .run("return document.querySelectorAll('#list img, #answer img, #list b, #list script').length"),
        0
    );
    assert_ne!(browser.run("return document.title"), "owned");
    browser.picture("answer");
    // Nothing was asked of anybody else.
    let outside = browser.run(&format!(
        "return performance.getEntriesByType('resource').map(e => e.name).filter(name => !name.startsWith('{}'))",
        service.url
    ));
    assert_eq!(outside, json!([]));
    // An error is told where the answer would be.
    browser.run("document.getElementById('tests').value = 'assert twice(3'");
    browser.click("#go");
    browser.wait_for("document.getElementById('state').textContent.includes('never closed')");
}

#[test]
fn the_page_shows_a_run_and_finds_problems_in_it() {
    let Some(browser) = Browser::start(420) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let run = directory.path().join("run").display().to_string();
    let recipe = directory.path().join("recipe.toml");
    let text = "name = \"small\"\n[problems]\ntrain = 24\ntest = 30\n[pool]\nsamples = 6\nmax_new_tokens = 96\n[grpo]\nsteps = 0\n[critic]\nstart = \"models/basics-critic\"\nproblems = 8\nsamples = 2\n[critic.training]\nepochs = 1\n";
    std::fs::write(&recipe, text).expect("written");
    let made = ncomp(&["run", recipe.to_str().expect("a path"), "--out", &run]).output().expect("ncomp");
    assert!(made.status.success(), "{}", support::stderr(&made));
    let view = Running::start(&["view", &run]);
    browser.open(&view.url);
    browser.wait_for("document.querySelectorAll('#problems details').length === 25");
    let table = browser.run("return document.querySelector('#rows').innerText");
    for words in ["basics: one greedy answer", "before GRPO", "basics: one of 6, after GRPO", "critic's pick"]
    {
        assert!(table.as_str().is_some_and(|table| table.contains(words)), "{words}: {table}");
    }
    assert_eq!(browser.run("return document.getElementById('shown').textContent"), "30 of 30");
    browser.click("#more");
    assert_eq!(browser.run("return document.querySelectorAll('#problems details').length"), 30);
    browser.run(
        "const f = document.getElementById('filter'); f.value = 'some'; f.dispatchEvent(new Event('input'))",
    );
    let some = browser.run("return document.querySelectorAll('#problems details').length");
    assert!(some.as_u64().is_some_and(|some| some > 0 && some < 30), "{some}");
    browser.click("#problems summary");
    browser.wait_for("document.querySelectorAll('#problems details[open] .card').length === 6");
    browser.picture("run");
    // A phone's width holds it.
    assert_eq!(browser.run("return document.documentElement.scrollWidth <= window.innerWidth"), true);
}
