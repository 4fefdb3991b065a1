//! Drives a headless Chromium through its driver ([WebDriver]).
//!
//! If the environment variable `SCREENSHOTS` names a directory, pictures of the pages are saved
//! there, to be looked at.
//!
//! [WebDriver]: https://www.w3.org/TR/webdriver2/

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use base64::prelude::{Engine, BASE64_STANDARD};
use serde_json::{json, Value};
use ureq::Agent;

use crate::endpoint::free_port;
use crate::http::is_listening;
use crate::process::{command, find_program, Process, TestDir, TEST_TIMEOUT};

/// The key of an element's id (WebDriver, section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window.
pub struct Browser {
    /// The URL of the session.
    session: String,
    agent: Agent,
    _driver: Process,
}

/// An element of the current page.
#[derive(Debug)]
pub struct Element(String);

impl Browser {
    #[track_caller]
    pub fn start(dir: &TestDir) -> Self {
        let port = free_port();
        let mut driver = command("chromedriver");
        let home = dir.create_dir("browser");
        driver.arg(format!("--port={port}")).env("HOME", &home);
        let mut driver = Process::start("chromedriver", &mut driver, dir);
        driver.wait_until("listening", || is_listening(port));
        let config = Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(TEST_TIMEOUT)).build().into();
        let session = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self { session, agent, _driver: driver };
        let profile = format!("--user-data-dir={}", home.join("profile").display());
        let options = json!({
            "binary": find_program("chromium"),
            // Chromium refuses to run as root with its sandbox.
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--disable-background-networking", "--no-first-run", profile],
        });
        let capabilities = json!({ "alwaysMatch": { "goog:chromeOptions": options } });
        let created = browser.post("", &json!({ "capabilities": capabilities }));
        let id = created["sessionId"].as_str().expect("the id of a session");
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    /// Sends a command and returns the value of its response.
    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.session);
        let request = self.agent.post(&url).content_type("application/json");
        let mut response = request.send(body.to_string()).expect("a response of the driver");
        let text = response.body_mut().with_config().limit(u64::MAX).read_to_string();
        let mut response: Value =
            serde_json::from_str(&text.expect("a response of the driver")).expect("JSON");
        let value = response["value"].take();
        assert!(value.get("error").is_none(), "{path} {body}: {value:#}");
        value
    }

    #[track_caller]
    pub fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Runs the body of a JavaScript function. If it returns a promise, waits for its value.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs the body of a JavaScript function and returns its value as text.
    #[track_caller]
    pub fn text(&self, script: &str) -> String {
        match self.run(script) {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// Waits until a JavaScript expression is true.
    ///
    /// # Panics
    /// If it is still false when the time is over. The message contains the beginning of the page.
    #[track_caller]
    pub fn wait_for(&self, expression: &str) {
        let script = format!("return !!({expression})");
        let deadline = Instant::now() + TEST_TIMEOUT;
        while self.run(&script) != Value::Bool(true) {
            if Instant::now() > deadline {
                self.screenshot("timeout");
                let page = "return location.href + '\\n' + document.body?.innerText.slice(0, 600)";
                panic!("timed out waiting for: {expression}\nin the page {}", self.text(page));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for an element that matches a CSS selector.
    #[track_caller]
    pub fn find(&self, selector: &str) -> Element {
        self.wait_for(&format!("document.querySelector({})", json!(selector)));
        let body = json!({ "using": "css selector", "value": selector });
        let element = self.post("/element", &body);
        Element(element[ELEMENT].as_str().expect("the id of an element").to_owned())
    }

    #[track_caller]
    pub fn click(&self, selector: &str) {
        let Element(id) = self.find(selector);
        self.post(&format!("/element/{id}/click"), &json!({}));
    }

    /// Replaces the text of a field.
    ///
    /// # Panics
    /// If a script of the page has changed the text, or moved the focus before its end.
    #[track_caller]
    pub fn fill(&self, selector: &str, text: &str) {
        let Element(id) = self.find(selector);
        self.post(&format!("/element/{id}/clear"), &json!({}));
        self.post(&format!("/element/{id}/value"), &json!({ "text": text }));
        let value = self.text(&format!("return document.querySelector({}).value", json!(selector)));
        assert_eq!(value, text, "the text of {selector}");
    }

    /// Selects a file in a field for files.
    #[track_caller]
    pub fn select_file(&self, selector: &str, file: &Path) {
        let Element(id) = self.find(selector);
        self.post(&format!("/element/{id}/value"), &json!({ "text": file }));
    }

    /// Sets the width of the page in pixels, and its color scheme.
    #[track_caller]
    pub fn set_screen(&self, width: u32, scheme: &str) {
        let metrics = json!({
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    #[track_caller]
    fn devtools(&self, command: &str, params: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": params }))
    }

    /// Saves a picture of the whole page, if that was asked for.
    #[track_caller]
    pub fn screenshot(&self, name: &str) {
        let Some(dir) = std::env::var_os("SCREENSHOTS") else { return };
        let params = json!({ "captureBeyondViewport": true });
        let picture = self.devtools("Page.captureScreenshot", &params);
        let data = BASE64_STANDARD.decode(picture["data"].as_str().expect("a picture"));
        let file = Path::new(&dir).join(format!("{name}.png"));
        fs::write(file, data.expect("base64")).expect("a file for a picture");
    }
}

impl Drop for Browser {
    /// Closes the browser, which is not in the process group of its driver.
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
    }
}
