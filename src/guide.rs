//! Guides: how to do a task, from the beginning.
//!
//! This module contains documentation only. Each guide stands alone.
//!
//! | Guide | Answers |
//! | --- | --- |
//! | [`first_application`] | How do I write an application, and put nginx in front of it? |
//! | [`forms`] | How do I read a query, a form, JSON and an upload? |
//! | [`streaming`] | How do I send a response piece by piece, such as server-sent events? |
//! | [`daemon`] | How do I stop on SIGTERM, and who may open the socket? |
//! | [`deployment`](crate::deployment) | How is an application started and restarted? |
//! | [`php_fpm`] | How do I call php-fpm, or serve PHP, from Rust? |
//! | [`limits`] | Which timeouts and limits are there, and what happens under overload? |
//! | [`security`] | What does the library check, and what is left to you? |
//! | [`small_systems`] | How large is a program, and how do I make it smaller? |
//! | [`costs`] | What does a request cost? |
//! | [`troubleshooting`] | What does this error mean, and what do I do? |
//! | [`migration`] | How do I replace libfcgi, Go's net/http/fcgi, or another crate? |
//!
//! Complete programs are in the directory `examples` of the repository.

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
