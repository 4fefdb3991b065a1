//! Proves that the demonstration of the example `gateway` works in a browser.

use std::process::Command;

use crate::app::example;
use crate::echo::random_bytes;
use crate::endpoint::free_port;
use crate::http::is_listening;
use crate::process::{Process, TestDir};
use crate::webdriver::Browser;

fn start_gateway(dir: &TestDir) -> (String, Process) {
    let port = free_port();
    let mut gateway = Command::new(example("gateway"));
    gateway.args(["--listen", &format!("127.0.0.1:{port}")]);
    let mut process = Process::start("gateway", &mut gateway, dir);
    process.wait_until("listening", || is_listening(port));
    (format!("http://127.0.0.1:{port}/"), process)
}

/// Returns the text of an element.
fn content(browser: &Browser, id: &str) -> String {
    browser.text(&format!("return document.getElementById('{id}').innerText"))
}

/// Waits until the records of the last try are shown, and contain these texts.
#[track_caller]
fn check_records(browser: &Browser, expected: &[&str]) {
    let all = expected.iter().map(|text| format!("$('records').innerText.includes('{text}')"));
    browser.wait_for(&all.collect::<Vec<_>>().join(" && "));
}

#[track_caller]
fn check_form(browser: &Browser) {
    browser.fill("#form input[name=name]", "Ferris \u{e9}");
    browser.click("#form button");
    browser.wait_for("$('form-answer').textContent.includes('name = Ferris \u{e9}')");
    check_records(browser, &["POST /form", "BeginRequest", "Params", "Stdin", "EndRequest"]);
}

#[track_caller]
fn check_upload(browser: &Browser, dir: &TestDir) {
    let file = dir.write("upload.bin", random_bytes(5 << 20));
    browser.select_file("#upload input", &file);
    browser.click("#upload button.first");
    browser.wait_for("$('upload-answer').textContent.includes('They are equal.')");
    let answer = content(browser, "upload-answer");
    assert!(answer.contains("application:  5242880 bytes"), "{answer}");
    assert_eq!(browser.text("return $('progress').value"), "1");
    check_records(browser, &["POST /upload", "Stdin", "EndRequest"]);
    browser.click("#random");
    browser.wait_for("$('upload-answer').textContent.includes('8388608 bytes')");
    browser.wait_for("$('upload-answer').textContent.includes('They are equal.')");
}

/// Each line is shown before the next one is requested.
#[track_caller]
fn check_stream(browser: &Browser) {
    browser.click("#step");
    for line in 1..=12 {
        browser.wait_for(&format!("$('stream-answer').textContent.includes('line {line} of 12')"));
        if line < 12 {
            assert!(!content(browser, "stream-answer").contains(&format!("line {} of", line + 1)));
            browser.click("#next");
        }
    }
    check_records(browser, &["GET /stream", "EndRequest"]);
}

/// Every ending of a request reaches the browser as what it is.
#[track_caller]
fn check_endings(browser: &Browser) {
    let cases = [
        ("/missing", "404 Not Found"),
        ("/moved", "redirected to /?moved"),
        ("/shortcut", "This is /shortcut."),
        ("/log", "The application wrote a line to STDERR."),
        ("/status", "app status 3"),
        ("/error", "500 Internal Server Error"),
        ("/panic", "500 Internal Server Error"),
        ("/cut", "The browser rejected the response"),
    ];
    for (path, text) in cases {
        browser.click(&format!("#responses a[href='{path}']"));
        browser.wait_for(&format!(
            "$('response-answer').textContent.startsWith('GET {path}') && \
             $('response-answer').textContent.includes('{text}')"
        ));
        check_records(browser, &[&format!("GET {path}"), "EndRequest"]);
    }
    check_records(browser, &["Stdout"]);
}

#[test]
#[ignore = "needs chromium and chromium-driver, run by .ci/run"]
fn demonstration_works_in_a_browser() {
    let dir = TestDir::new();
    let (url, _gateway) = start_gateway(&dir);
    let browser = Browser::start(&dir);
    for (width, scheme) in [(1200, "light"), (390, "light"), (1200, "dark"), (390, "dark")] {
        browser.set_screen(width, scheme);
        browser.open(&url);
        check_form(&browser);
        check_upload(&browser, &dir);
        check_stream(&browser);
        check_endings(&browser);
        let overflow =
            "const root = document.documentElement; return root.scrollWidth - root.clientWidth";
        assert_eq!(browser.text(overflow), "0", "the page is not wider than {width} pixels");
        browser.screenshot(&format!("demonstration-{width}-{scheme}"));
    }
}
