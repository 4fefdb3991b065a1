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
    /// [`Config::max_stderr`](super::Config::max_stderr) bytes, without what was written to
    /// [another writer](super::Stdout::stderr_to).
    ///
    /// The application chooses these bytes. Escape control characters before you write them to a
    /// log.
    pub stderr: Vec<u8>,
    /// The number of bytes of STDERR after those that were kept.
    pub stderr_dropped: u64,
}

/// The STDERR of a request.
///
/// Invariant: `kept.len() <= max`, and nothing is `dropped` before `kept` is full.
pub(super) struct Stderr<'a> {
    kept: Vec<u8>,
    max: usize,
    dropped: u64,
    /// Where it goes instead of `kept`.
    writer: Option<Box<dyn Write + Send + 'a>>,
}

impl<'a> Stderr<'a> {
    /// Keeps up to `max` bytes in memory.
    pub(super) fn kept(max: usize) -> Self {
        Self { kept: Vec::new(), max, dropped: 0, writer: None }
    }

    /// Writes everything to `writer` from now on.
    pub(super) fn write_to(&mut self, writer: Box<dyn Write + Send + 'a>) {
        self.writer = Some(writer);
    }

    pub(super) fn push(&mut self, content: &[u8]) -> io::Result<()> {
        if let Some(writer) = &mut self.writer {
            return writer.write_all(content);
        }
        let len = content.len().min(self.max - self.kept.len());
        self.kept.extend_from_slice(&content[..len]);
        self.dropped += (content.len() - len) as u64;
        Ok(())
    }

    /// Returns how the request ended. The bytes that were kept are moved into the first result.
    #[inline]
    pub(super) fn complete(&mut self, app_status: u32) -> Completion {
        let stderr = std::mem::take(&mut self.kept);
        Completion { app_status, stderr, stderr_dropped: self.dropped }
    }
}
