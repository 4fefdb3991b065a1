//! The bodies of fixed layout: 8 bytes each.

use super::header::Header;
use crate::error::{Error, Result};
use crate::protocol::{ProtocolStatus, RecordType, Role, HEADER_LEN, KEEP_CONN};

/// The body of a [`RecordType::BeginRequest`] record (section 5.1 of the specification).
///
/// ```
/// use fcgi::record::{BeginRequest, Role};
///
/// let body = BeginRequest::new(Role::Responder, true);
/// assert_eq!(body.encode(), [0, 1, 1, 0, 0, 0, 0, 0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BeginRequest {
    /// The role that the web server requests.
    pub role: Role,
    /// The flags. All bits except [`KEEP_CONN`] are ignored.
    pub flags: u8,
}

impl BeginRequest {
    /// Creates a body with this role, and with [`KEEP_CONN`] set if `keep_conn` is true.
    ///
    /// ```
    /// use fcgi::record::{BeginRequest, Role, KEEP_CONN};
    ///
    /// assert_eq!(BeginRequest::new(Role::Filter, true).flags, KEEP_CONN);
    /// assert_eq!(BeginRequest::new(Role::Filter, false).flags, 0);
    /// ```
    pub fn new(role: Role, keep_conn: bool) -> Self {
        Self { role, flags: if keep_conn { KEEP_CONN } else { 0 } }
    }

    /// Returns whether the connection is to stay open after the request.
    ///
    /// ```
    /// use fcgi::record::{BeginRequest, Role};
    ///
    /// assert!(BeginRequest { role: Role::Responder, flags: 0xff }.keep_conn());
    /// assert!(!BeginRequest { role: Role::Responder, flags: 0xfe }.keep_conn());
    /// ```
    pub fn keep_conn(self) -> bool {
        self.flags & KEEP_CONN != 0
    }

    /// Parses the content of a record. Bytes after the first 8 are ignored.
    ///
    /// # Errors
    /// [`Error::InvalidBodyLength`] if `content` has fewer than 8 bytes.
    ///
    /// ```
    /// use fcgi::record::{BeginRequest, Role};
    ///
    /// let body = BeginRequest::parse(&[0, 1, 1, 0, 0, 0, 0, 0])?;
    /// assert_eq!(body, BeginRequest::new(Role::Responder, true));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn parse(content: &[u8]) -> Result<Self> {
        let [role1, role0, flags, ..] = fixed_body(RecordType::BeginRequest, content)?;
        Ok(Self { role: u16::from_be_bytes([role1, role0]).into(), flags })
    }

    /// Encodes the body. The reserved bytes are 0.
    ///
    /// ```
    /// use fcgi::record::{BeginRequest, Role};
    ///
    /// let body = BeginRequest::new(Role::Authorizer, false);
    /// assert_eq!(body.encode(), [0, 2, 0, 0, 0, 0, 0, 0]);
    /// ```
    pub fn encode(self) -> [u8; 8] {
        let [role1, role0] = u16::from(self.role).to_be_bytes();
        [role1, role0, self.flags, 0, 0, 0, 0, 0]
    }
}

/// The body of a [`RecordType::EndRequest`] record (section 5.5 of the specification).
///
/// ```
/// use fcgi::record::{EndRequest, ProtocolStatus};
///
/// let refusal = EndRequest { app_status: 0, protocol_status: ProtocolStatus::Overloaded };
/// assert_eq!(refusal.encode(), [0, 0, 0, 0, 2, 0, 0, 0]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EndRequest {
    /// The application status. It corresponds to the exit status of a CGI program: 0 means success.
    pub app_status: u32,
    /// How the request ended at the protocol level.
    pub protocol_status: ProtocolStatus,
}

impl EndRequest {
    /// Parses the content of a record. Bytes after the first 8 are ignored.
    ///
    /// # Errors
    /// [`Error::InvalidBodyLength`] if `content` has fewer than 8 bytes.
    ///
    /// ```
    /// use fcgi::record::{EndRequest, ProtocolStatus};
    ///
    /// let body = EndRequest::parse(&[0, 0, 3, 170, 0, 0, 0, 0])?;
    /// assert_eq!(body.app_status, 938);
    /// assert_eq!(body.protocol_status, ProtocolStatus::RequestComplete);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn parse(content: &[u8]) -> Result<Self> {
        let [a3, a2, a1, a0, status, ..] = fixed_body(RecordType::EndRequest, content)?;
        Ok(Self {
            app_status: u32::from_be_bytes([a3, a2, a1, a0]),
            protocol_status: status.into(),
        })
    }

    /// Encodes the body. The reserved bytes are 0.
    ///
    /// ```
    /// use fcgi::record::{EndRequest, ProtocolStatus};
    ///
    /// let body = EndRequest { app_status: 938, ..EndRequest::default() };
    /// assert_eq!(body.encode(), [0, 0, 3, 170, 0, 0, 0, 0]);
    /// ```
    pub fn encode(self) -> [u8; 8] {
        let [a3, a2, a1, a0] = self.app_status.to_be_bytes();
        [a3, a2, a1, a0, self.protocol_status.into(), 0, 0, 0]
    }

    /// Encodes the whole record, header included.
    pub(crate) fn encode_record(self, request_id: u16) -> [u8; 16] {
        fixed_record(RecordType::EndRequest, request_id, self.encode())
    }
}

/// The body of a [`RecordType::UnknownType`] record (section 4.2 of the specification).
///
/// ```
/// use fcgi::record::{RecordType, UnknownType};
///
/// let body = UnknownType { record_type: RecordType::Unknown(99) };
/// assert_eq!(body.encode(), [99, 0, 0, 0, 0, 0, 0, 0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnknownType {
    /// The type of the management record that the application does not know.
    pub record_type: RecordType,
}

impl UnknownType {
    /// Parses the content of a record. Bytes after the first 8 are ignored.
    ///
    /// # Errors
    /// [`Error::InvalidBodyLength`] if `content` has fewer than 8 bytes.
    ///
    /// ```
    /// use fcgi::record::{RecordType, UnknownType};
    ///
    /// let body = UnknownType::parse(&[99, 0, 0, 0, 0, 0, 0, 0])?;
    /// assert_eq!(body.record_type, RecordType::Unknown(99));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn parse(content: &[u8]) -> Result<Self> {
        let [record_type, ..] = fixed_body(RecordType::UnknownType, content)?;
        Ok(Self { record_type: record_type.into() })
    }

    /// Encodes the body. The reserved bytes are 0.
    ///
    /// ```
    /// use fcgi::record::{RecordType, UnknownType};
    ///
    /// let body = UnknownType { record_type: RecordType::Unknown(12) };
    /// assert_eq!(body.encode(), [12, 0, 0, 0, 0, 0, 0, 0]);
    /// ```
    pub fn encode(self) -> [u8; 8] {
        [self.record_type.into(), 0, 0, 0, 0, 0, 0, 0]
    }
}

/// Encodes a whole record with a body of fixed layout.
pub(crate) fn fixed_record(record_type: RecordType, request_id: u16, body: [u8; 8]) -> [u8; 16] {
    let mut record = [0; 16];
    record[..HEADER_LEN].copy_from_slice(&Header::new(record_type, request_id, 8).encode());
    record[HEADER_LEN..].copy_from_slice(&body);
    record
}

/// Returns the first 8 bytes of the content.
fn fixed_body(record_type: RecordType, content: &[u8]) -> Result<[u8; 8]> {
    let body = content.get(..8).and_then(|body| body.try_into().ok());
    body.ok_or_else(|| Error::InvalidBodyLength { record_type, len: content.len() })
}
