use std::io::{self, Write};

/// How a request ended, besides its response.
///
/// ```
/// use fcgi::client::Completion;
///
/// /// Returns a line for the log.
/// fn describe(completion: &Completion) -> String {
///     let stderr = completion.stderr.escape_ascii();
///     format!("application status {}, stderr: {stderr}", completion.app_status)
/// }
/// assert_eq!(describe(&Completion::default()), "application status 0, stderr: ");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completion {
    /// The application's own status (FastCGI specification, section 5.5). 0 is success.
    pub app_status: u32,
    /// What the application wrote to STDERR, up to
    /// [`Config::max_stderr`](super::Config::max_stderr) bytes. Empty if it was written to [another
    /// writer](super::Stdout::stderr_to).
    ///
    /// The application chooses these bytes. Escape control characters before you write them to a
    /// log.
    pub stderr: Vec<u8>,
    /// The number of bytes of STDERR after those that were kept.
    pub stderr_dropped: u64,
}

/// Where the STDERR of a request goes.
pub(super) enum Stderr<'a> {
    /// Invariant: `bytes.len() <= max`, and nothing is `dropped` before `bytes` is full.
    Kept {
        bytes: Vec<u8>,
        max: usize,
        dropped: u64,
    },
    Written(Box<dyn Write + Send + 'a>),
}

impl Stderr<'_> {
    /// Keeps up to `max` bytes in memory.
    pub(super) fn kept(max: usize) -> Self {
        Self::Kept { bytes: Vec::new(), max, dropped: 0 }
    }

    pub(super) fn push(&mut self, content: &[u8]) -> io::Result<()> {
        match self {
            Self::Kept { bytes, max, dropped } => {
                let len = content.len().min(*max - bytes.len());
                bytes.extend_from_slice(&content[..len]);
                *dropped += (content.len() - len) as u64;
                Ok(())
            }
            Self::Written(writer) => writer.write_all(content),
        }
    }

    /// Returns how the request ended. The bytes that were kept are moved into the first result.
    #[inline]
    pub(super) fn complete(&mut self, app_status: u32) -> Completion {
        match self {
            Self::Kept { bytes, dropped, .. } => {
                Completion { app_status, stderr: std::mem::take(bytes), stderr_dropped: *dropped }
            }
            Self::Written(_) => Completion { app_status, ..Completion::default() },
        }
    }
}
