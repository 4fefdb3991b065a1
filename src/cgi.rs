//! CGI/1.1 (RFC 3875), which FastCGI carries: the head of a response, read and written.

mod head;
mod parser;
mod response;
mod rules;

pub use head::Head;
pub use parser::HeadParser;
pub use response::ResponseHead;
pub use rules::standard_reason;
