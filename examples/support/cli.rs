//! The command line of the examples: options, `--help`, `--version`, and reporting of errors.
//!
//! The parser is [`lexopt`], because the options of `cgi-fcgi` have one dash and several letters,
//! which `clap` does not support.
//!
//! Options may stand before and after positional arguments. `--option VALUE` and `--option=VALUE`
//! are equivalent. After `--`, every argument is positional. Arguments may contain any bytes.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use fcgi::net::Address;
use lexopt::{Arg, Parser};

use super::exit::{Exit, EXIT_STATUSES, EX_USAGE};
use super::stdio::{self, Stderr};

/// The options that every program has.
const COMMON_OPTIONS: &str = "
`--help` prints this text, and `--version` the version.

";

/// What `--help` and `--version` print.
pub struct Program {
    pub name: &'static str,
    /// The usage, an empty line, and the rest of the text. The exit statuses follow it.
    pub help: &'static str,
    pub exit_statuses: &'static str,
    /// The exit status after invalid arguments.
    pub usage_status: u8,
}

impl Program {
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, exit_statuses: EXIT_STATUSES, usage_status: EX_USAGE }
    }

    /// Parses the arguments and runs the program. Returns its exit status, after it has printed the
    /// reason for it.
    pub fn main(&self, run: impl FnOnce(Arguments) -> Result<u8, Exit>) -> ExitCode {
        match run(Arguments::new(std::env::args_os().skip(1))) {
            Ok(status) => ExitCode::from(status),
            Err(exit) => self.exit(exit),
        }
    }

    fn exit(&self, exit: Exit) -> ExitCode {
        let (status, reason) = match exit {
            Exit::Help => {
                return self.print(&format!("{}{COMMON_OPTIONS}{}", self.help, self.exit_statuses))
            }
            Exit::Version => {
                return self.print(&format!("{} (fcgi) {}\n", self.name, env!("CARGO_PKG_VERSION")))
            }
            Exit::Failure(status, reason) => (status, reason),
        };
        let mut message = format!("{}: {reason}\n", self.name);
        if status == EX_USAGE {
            let usage = self.help.split("\n\n").next().unwrap_or_default();
            // Writing to a string does not fail.
            let _ = writeln!(message, "{usage}\nTry `{} --help`.", self.name);
        }
        let _ = Stderr.write_all(message.as_bytes());
        ExitCode::from(if status == EX_USAGE { self.usage_status } else { status })
    }

    fn print(&self, text: &str) -> ExitCode {
        match stdio::print(text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => self.exit(error.into()),
        }
    }
}

/// The arguments of a program.
pub struct Arguments {
    words: Vec<OsString>,
    parser: Parser,
    /// The last option that [`next_option`](Self::next_option) has returned.
    option: String,
    /// The positional arguments that precede it.
    positional: VecDeque<OsString>,
}

impl Arguments {
    pub fn new(words: impl IntoIterator<Item = OsString>) -> Self {
        let words: Vec<_> = words.into_iter().collect();
        let parser = Parser::from_args(words.iter().cloned());
        Self { words, parser, option: String::new(), positional: VecDeque::new() }
    }

    /// Returns all arguments, as they were given.
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// Returns the next option, with its dashes. Collects the positional arguments before it.
    pub fn next_option(&mut self) -> Result<Option<String>, Exit> {
        while let Some(arg) = self.parser.next().map_err(describe)? {
            let option = match arg {
                Arg::Value(value) => {
                    self.positional.push_back(value);
                    continue;
                }
                Arg::Long(name) => format!("--{name}"),
                Arg::Short(first) => self.single_dash_option(first),
            };
            return self.found(option).map(Some);
        }
        Ok(None)
    }

    /// Returns an option with one dash, which may have several letters.
    fn single_dash_option(&mut self, first: char) -> String {
        let rest = self.parser.optional_value().unwrap_or_default();
        format!("-{first}{}", rest.to_string_lossy())
    }

    fn found(&mut self, option: String) -> Result<String, Exit> {
        self.option.clone_from(&option);
        match &*option {
            "--help" | "-help" | "-h" => Err(Exit::Help),
            "--version" | "-version" | "-V" => Err(Exit::Version),
            _ => Ok(option),
        }
    }

    /// Returns the value of the last option.
    pub fn value(&mut self) -> Result<OsString, Exit> {
        let value = self.parser.value();
        value.map_err(|_| Exit::usage(format!("{} requires a value", self.option)))
    }

    /// Returns the value of the last option if it was given after an equals sign.
    pub fn optional_value(&mut self) -> Option<OsString> {
        self.parser.optional_value()
    }

    /// Returns the value of the last option as text.
    pub fn text(&mut self) -> Result<String, Exit> {
        self.value().and_then(to_text)
    }

    /// Returns the value of the last option as an address.
    pub fn address(&mut self) -> Result<Address, Exit> {
        parse_address(&self.value()?)
    }

    /// Returns the value of the last option as a number. `what` describes it in the error.
    pub fn number<T: FromStr>(&mut self, what: &str) -> Result<T, Exit> {
        parse_number(&self.value()?, what)
    }

    /// Returns the value of the last option, in seconds. It may have a fraction and is above 0.
    pub fn seconds(&mut self) -> Result<Duration, Exit> {
        let text = self.text()?;
        let seconds =
            text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let seconds = seconds.filter(|seconds| !seconds.is_zero());
        seconds.ok_or_else(|| Exit::usage(format!("{text:?} is not a positive number of seconds")))
    }

    /// Returns an error for the last option, which the program does not have.
    pub fn unknown_option(&self) -> Exit {
        Exit::usage(format!("unknown option {:?}", self.option))
    }

    /// Returns the next positional argument. Call this after the options.
    pub fn next_positional(&mut self) -> Option<OsString> {
        self.positional.pop_front()
    }

    /// Returns the next positional argument as the address of an application.
    pub fn required_address(&mut self) -> Result<Address, Exit> {
        let address = self.next_positional().ok_or_else(|| Exit::usage("ADDRESS is missing"))?;
        parse_address(&address)
    }

    /// Checks that there are no more arguments.
    pub fn finish(mut self) -> Result<(), Exit> {
        match self.next_positional() {
            Some(extra) => Err(Exit::usage(format!("unexpected argument {extra:?}"))),
            None => Ok(()),
        }
    }
}

/// Describes the one error of `lexopt` that `next` returns: a value of an option that takes none.
fn describe(error: lexopt::Error) -> Exit {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => {
            Exit::usage(format!("{option} takes no value"))
        }
        error => Exit::usage(error),
    }
}

/// Converts an argument to text.
pub fn to_text(arg: OsString) -> Result<String, Exit> {
    arg.into_string().map_err(|arg| Exit::usage(format!("{arg:?} is not UTF-8")))
}

/// Parses a number. `what` describes it in the error.
pub fn parse_number<T: FromStr>(arg: &OsStr, what: &str) -> Result<T, Exit> {
    let number = arg.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Exit::usage(format!("{arg:?} is not {what}")))
}

/// Parses an address. The path of a Unix socket may contain any bytes.
pub fn parse_address(arg: &OsStr) -> Result<Address, Exit> {
    Ok(Address::try_from(arg)?)
}
