//! Tests of `fcgi::cgi`: the environment of a request and the head of a response.

mod environment;
mod head;
mod request_path;
