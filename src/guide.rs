//! Guides: how to do a task, from the beginning.
//!
//! This module contains documentation only. Each guide stands alone.
//!
//! | Guide | Answers |
//! | --- | --- |
//! | [`first_application`] | How do I write an application, and put nginx in front of it? |
//! | [`forms`] | How do I read a query, a form, JSON and an upload? |
//! | [`streaming`] | How do I send server-sent events, or a file, piece by piece? |
//! | [`daemon`] | How do I stop on SIGTERM, and who may open the socket? |
//! | [`deployment`](crate::deployment) | How is an application started and restarted? |
//! | [`php_fpm`] | How do I call php-fpm, forward requests, or check a pool? |
//! | [`limits`] | Which timeouts and limits are there, and what happens under overload? |
//! | [`security`] | What does the library check, and what is left to you? |
//! | [`small_systems`] | How large is a program, and how do I make it smaller? |
//! | [`costs`] | What does a request cost? |
//! | [`troubleshooting`] | What does this error mean, and what do I do? |
//! | [`migration`] | How do I replace libfcgi, Go's net/http/fcgi, or another crate? |
//!
//! Complete programs are in the directory `examples` of the repository:
//!
//! | To write | Read | Example |
//! | --- | --- | --- |
//! | a form | [`forms`](forms#queries-and-forms) | `form` |
//! | an upload to a file | [`forms`](forms#uploads-of-any-length) | `upload` |
//! | a form with files | [`forms`](forms#files-in-forms) | `multipart` |
//! | a JSON API | [`forms`](forms#json) | `api` |
//! | a daemon with a socket of its own | [`daemon`] | `daemon` |
//! | server-sent events | [`streaming`](streaming#server-sent-events) | `events` |
//! | a download that nginx sends | [`streaming`](streaming#files) | |
//! | a filter | [`Stdin::data`](crate::server::Stdin::data) | `filter` |
//! | an access log | [`Server::on_request_end`](crate::Server::on_request_end) | `access_log` |
//! | a health check of php-fpm | [`php_fpm`](php_fpm#health-checks) | `health_check`, `fpm` |
//! | a reverse proxy | [`php_fpm`](php_fpm#a-reverse-proxy) | `proxy`, `gateway` |
//! | a load generator | [`php_fpm`](php_fpm#several-threads) | `load` |
//! | a dump of records | [`record`](crate::record) | `dump` |

#[doc = include_str!("guide/first_application.md")]
pub mod first_application {}

#[doc = include_str!("guide/forms.md")]
pub mod forms {}

#[doc = include_str!("guide/streaming.md")]
pub mod streaming {}

#[doc = include_str!("guide/daemon.md")]
pub mod daemon {}

#[doc = include_str!("guide/php_fpm.md")]
pub mod php_fpm {}

#[doc = include_str!("guide/limits.md")]
pub mod limits {}

#[doc = include_str!("guide/security.md")]
pub mod security {}

#[doc = include_str!("guide/small_systems.md")]
pub mod small_systems {}

#[doc = include_str!("guide/costs.md")]
pub mod costs {}

#[doc = include_str!("guide/troubleshooting.md")]
pub mod troubleshooting {}

#[doc = include_str!("guide/migration.md")]
pub mod migration {}
