//! The examples of the other roles, through the client's own words for them (rules A50 to A52, C25,
//! C26, H20), and `probe`.
#![cfg(unix)]

use crate::example;
use crate::example::ExampleServer;
use fcgi::client::Authorization;
use fcgi::record::ProtocolStatus;
use fcgi::{Client, Error, Params};

fn client(application: &ExampleServer) -> Client {
    Client::from(application.address.clone())
}

#[test]
fn a50_the_authorizer_tells_who_it_is() {
    let authorizer = ExampleServer::start("authorizer");
    // "ferris:open sesame"
    let params = Params::from_pairs([("HTTP_AUTHORIZATION", "Basic ZmVycmlzOm9wZW4gc2VzYW1l")])
        .expect("params");
    let allowed = client(&authorizer).authorize(&params).expect("an answer");
    let variables =
        Params::from_pairs([("REMOTE_USER", "ferris"), ("AUTH_TYPE", "Basic")]).expect("params");
    assert_eq!(allowed, Authorization::Allowed(variables));
}

#[test]
fn a50_the_authorizer_refuses_others() {
    let authorizer = ExampleServer::start("authorizer");
    for credentials in
        ["", "Basic", "Basic ???", "Basic ZmVycmlzOndyb25n", "Bearer ZmVycmlzOm9wZW4gc2VzYW1l"]
    {
        let params = Params::from_pairs([("HTTP_AUTHORIZATION", credentials)]).expect("params");
        let Authorization::Denied(reply) =
            client(&authorizer).authorize(&params).expect("an answer")
        else {
            panic!("{credentials:?} is let in");
        };
        let (head, _) = reply.split_head().expect("a head");
        assert_eq!(
            (head.status(), head.get("WWW-Authenticate")),
            (401, Some("Basic realm=\"cave\""))
        );
    }
}

/// Rule C25: some params are not for it, and other fields and the body of what it answers are not
/// the client's.
#[test]
fn c25_echo_as_an_authorizer() {
    let echo = ExampleServer::start("echo");
    let variables = Params::from_pairs([("Echo", "yes")]).expect("params");
    let allowed = client(&echo).authorize(&Params::new()).expect("an answer");
    assert_eq!(allowed, Authorization::Allowed(variables));
    let params = Params::from_pairs([("QUERY_STRING", "deny")]).expect("params");
    assert!(matches!(client(&echo).authorize(&params), Ok(Authorization::Denied(_))));
}

#[test]
fn a_responder_is_no_authorizer() {
    let filter = ExampleServer::start("filter");
    let outcome = client(&filter).authorize(&Params::new());
    assert!(matches!(outcome, Err(Error::Refused(ProtocolStatus::UnknownRole))), "{outcome:?}");
}

fn filtered(
    application: &ExampleServer,
    params: &[(&str, &str)],
    body: &[u8],
    data: &[u8],
) -> fcgi::Result<String> {
    let params = Params::from_pairs(params.iter().copied())?;
    let (text, _) = client(application).filter(&params, body, data, |response| {
        response.read_head()?;
        std::io::read_to_string(&mut response.stdout)
    })?;
    Ok(text)
}

#[test]
fn a51_the_filter_numbers_the_lines_of_its_file() {
    let filter = ExampleServer::start("filter");
    let params = [("FCGI_DATA_LENGTH", "14"), ("FCGI_DATA_LAST_MOD", "0"), ("CONTENT_LENGTH", "4")];
    let text = filtered(&filter, &params, b"body", b"one\ntwo\nthree\n").expect("an answer");
    assert_eq!(text, "     1  one\n     2  two\n     3  three\n");
}

#[test]
fn a52_a_file_that_is_cut_is_noticed() {
    let echo = ExampleServer::start("echo");
    let text = filtered(&echo, &[("FCGI_DATA_LENGTH", "4")], b"body", b"data").expect("an answer");
    assert_eq!(text, "FCGI_DATA_LENGTH=4\n\nbodydata");
    let text = filtered(&echo, &[("FCGI_DATA_LENGTH", "5")], b"body", b"data").expect("an answer");
    assert_eq!(text, "The application failed.\n");
}

#[test]
fn probe_prints_what_an_application_says() {
    let echo = ExampleServer::start("echo");
    let output = example::run("probe", &[&echo.address.to_string()], &[], b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.starts_with(
            "FCGI_MAX_CONNS  2048\nFCGI_MAX_REQS   2048\nFCGI_MPXS_CONNS 0\nanswers in "
        ),
        "{text}"
    );
    assert!(output.status.success());
}

#[test]
fn probe_says_why_there_is_no_answer() {
    let output = example::run("probe", &["/nonexistent/app.sock"], &[], b"");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("probe: "), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(example::run("probe", &[], &[], b"").status.code(), Some(64));
}
