//! Records: the units of data on a FastCGI connection.
//!
//! A record is an 8-byte [`Header`], content of up to 65535 bytes, and padding of up to 255 bytes
//! ([FastCGI specification], section 3.3). [`Header`], [`BeginRequest`], [`EndRequest`] and
//! [`UnknownType`] are small `Copy` values. Their methods `parse` and `encode` do no I/O.
//!
//! The functions `read_…` and `write_…` move records over any [`Read`](std::io::Read) and
//! [`Write`](std::io::Write). Only [`read_record`] allocates memory, in the vector that the caller
//! passes.
//!
//! ```
//! use fcgi::record::{self, Header, RecordType};
//!
//! let mut pipe = Vec::new();
//! record::write_record(&mut pipe, RecordType::Stdout, 1, b"hello")?;
//! assert_eq!(pipe, b"\x01\x06\x00\x01\x00\x05\x03\x00hello\0\0\0");
//!
//! let mut input = &pipe[..];
//! let mut content = Vec::new();
//! let header = record::read_record(&mut input, &mut content)?.expect("a record");
//! assert_eq!(header, Header::new(RecordType::Stdout, 1, 5));
//! assert_eq!(content, b"hello");
//! assert!(record::read_header(&mut input)?.is_none(), "the input has ended");
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! [`RecordReader`](crate::stream::RecordReader) and [`StreamWriter`](crate::stream::StreamWriter)
//! need fewer system calls, because they buffer. This prints the records of a capture, such as
//! `STDOUT id=1 length=5 padding=3`:
//!
//! ```no_run
//! // Reads the capture from stdin.
//! let mut reader = fcgi::stream::RecordReader::new(std::io::stdin());
//! while let Some(header) = reader.next_header()? {
//!     println!("{header}");
//! }
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! # The protocol in brief
//!
//! ```text
//! web server (Client)                                   application (Server)
//!   BEGIN_REQUEST  id, role, keep the connection?  ──►
//!   PARAMS         name-value pairs, empty record  ──►  calls the handler
//!   STDIN          request body, empty record      ──►  request.stdin
//!                                                  ◄──  STDOUT       response, empty record
//!                                                  ◄──  STDERR       messages for the log
//!                                                  ◄──  END_REQUEST  application status
//! ```
//!
//! Both directions can flow at the same time. Some web servers stop sending the body once the
//! response has begun, so a handler that begins its response before it has read the whole body can
//! hang: see [`guide::streaming`](crate::guide::streaming). A filter also receives a file (DATA)
//! after the request body, and an authorizer receives only params. ABORT_REQUEST cancels a request.
//! Records with id 0 are management records, which query the capabilities of an application.
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html

mod body;
mod header;
mod io;

pub(crate) use self::body::fixed_record;
pub use self::body::{BeginRequest, EndRequest, UnknownType};
pub(crate) use self::header::check_id;
pub use self::header::{padding_len, Header};
pub use self::io::{
    read_header, read_record, write_abort_request, write_begin_request, write_end_request,
    write_record, write_stream, write_unknown_type,
};
pub(crate) use crate::protocol::MAX_ALIGNED_LEN;
pub use crate::protocol::{
    ProtocolStatus, RecordType, Role, HEADER_LEN, KEEP_CONN, LISTENSOCK_FILENO, MAX_CONNS,
    MAX_CONTENT_LEN, MAX_REQS, MPXS_CONNS, NULL_REQUEST_ID, VERSION,
};
