//! Tests of the examples of the other roles, `authorizer` and `filter`, and of `probe`.
#![cfg(unix)]

use crate::example::{self, ExampleServer};
use fcgi::client::Authorization;
use fcgi::record::ProtocolStatus;
use fcgi::{Client, Error, Params};

fn client(application: &ExampleServer) -> Client {
    Client::from(application.address.clone())
}

/// Rules A50, C25 and H20.
#[test]
fn authorizer_returns_variables_for_valid_credentials() {
    let authorizer = ExampleServer::start("authorizer");
    // "ferris:open sesame"
    let params = Params::from_pairs([("HTTP_AUTHORIZATION", "Basic ZmVycmlzOm9wZW4gc2VzYW1l")])
        .expect("params");
    let allowed = client(&authorizer).authorize(&params).expect("a response");
    let variables =
        Params::from_pairs([("REMOTE_USER", "ferris"), ("AUTH_TYPE", "Basic")]).expect("params");
    assert_eq!(allowed, Authorization::Allowed(variables));
}

/// Rules A50 and C25.
#[test]
fn authorizer_denies_other_credentials() {
    let authorizer = ExampleServer::start("authorizer");
    for credentials in
        ["", "Basic", "Basic ???", "Basic ZmVycmlzOndyb25n", "Bearer ZmVycmlzOm9wZW4gc2VzYW1l"]
    {
        let params = Params::from_pairs([("HTTP_AUTHORIZATION", credentials)]).expect("params");
        let Authorization::Denied(reply) =
            client(&authorizer).authorize(&params).expect("a response")
        else {
            panic!("{credentials:?} is allowed");
        };
        let (head, _) = reply.split_head().expect("a head");
        assert_eq!(
            (head.status(), head.get("WWW-Authenticate")),
            (401, Some("Basic realm=\"cave\""))
        );
    }
}

/// Rule C25.
#[test]
fn authorization_ignores_other_fields_and_the_body() {
    let echo = ExampleServer::start("echo");
    let variables = Params::from_pairs([("Echo", "yes")]).expect("params");
    let allowed = client(&echo).authorize(&Params::new()).expect("a response");
    assert_eq!(allowed, Authorization::Allowed(variables));
    let params = Params::from_pairs([("QUERY_STRING", "deny")]).expect("params");
    assert!(matches!(client(&echo).authorize(&params), Ok(Authorization::Denied(_))));
}

/// Rule A25.
#[test]
fn application_without_the_authorizer_role_refuses() {
    let filter = ExampleServer::start("filter");
    let outcome = client(&filter).authorize(&Params::new());
    assert!(matches!(outcome, Err(Error::Refused(ProtocolStatus::UnknownRole))), "{outcome:?}");
}

fn run_filter(
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

/// Rules A51 and C26.
#[test]
fn filter_numbers_the_lines_of_its_data() {
    let filter = ExampleServer::start("filter");
    let params = [("FCGI_DATA_LENGTH", "14"), ("FCGI_DATA_LAST_MOD", "0"), ("CONTENT_LENGTH", "4")];
    let text = run_filter(&filter, &params, b"body", b"one\ntwo\nthree\n").expect("a response");
    assert_eq!(text, "     1  one\n     2  two\n     3  three\n");
}

/// Rule A52.
#[test]
fn truncated_data_is_an_error() {
    let echo = ExampleServer::start("echo");
    let text =
        run_filter(&echo, &[("FCGI_DATA_LENGTH", "4")], b"body", b"data").expect("a response");
    assert_eq!(text, "FCGI_DATA_LENGTH=4\n\nbodydata");
    let text =
        run_filter(&echo, &[("FCGI_DATA_LENGTH", "5")], b"body", b"data").expect("a response");
    assert_eq!(text, "The application failed.\n");
}

/// Rule C22.
#[test]
fn probe_prints_the_values_of_an_application() {
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
fn probe_prints_why_it_fails() {
    let output = example::run("probe", &["/nonexistent/app.sock"], &[], b"");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("probe: "), "{output:?}");
    assert_eq!(output.status.code(), Some(69));
    assert_eq!(example::run("probe", &[], &[], b"").status.code(), Some(64));
}
