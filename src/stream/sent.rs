/// How many bytes of the start of a stream are kept. Web servers accept shorter response heads.
const MAX_START: usize = 16 * 1024;

/// How much of a stream was sent, and how it begins.
#[derive(Debug, Default)]
pub(crate) struct SentContent {
    /// The number of bytes of the stream.
    pub(crate) len: u64,
    /// Its first bytes, at most [`MAX_START`].
    pub(crate) start: Vec<u8>,
}

impl SentContent {
    #[cold]
    pub(super) fn record(&mut self, content: &[u8]) {
        let kept = content.len().min(MAX_START - self.start.len());
        self.start.extend_from_slice(&content[..kept]);
        self.len += content.len() as u64;
    }
}
