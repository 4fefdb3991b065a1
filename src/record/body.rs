use std::fmt;

use super::{Header, RecordType, HEADER_LEN, KEEP_CONN};
use crate::error::{Error, Result};

/// What an application is asked to be (section 6).
///
/// ```
/// use fcgi::record::Role;
/// assert_eq!(Role::from(3), Role::Filter);
/// assert_eq!(u16::from(Role::Unknown(9)), 9);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Answers an HTTP request (1, section 6.2).
    #[default]
    Responder,
    /// Decides whether an HTTP request is allowed (2, section 6.3).
    Authorizer,
    /// Answers an HTTP request for a file that it is sent (3, section 6.4).
    Filter,
    /// A role that the specification does not define.
    Unknown(u16),
}

impl From<u16> for Role {
    fn from(number: u16) -> Self {
        match number {
            1 => Self::Responder,
            2 => Self::Authorizer,
            3 => Self::Filter,
            number => Self::Unknown(number),
        }
    }
}

impl From<Role> for u16 {
    fn from(role: Role) -> Self {
        match role {
            Role::Responder => 1,
            Role::Authorizer => 2,
            Role::Filter => 3,
            Role::Unknown(number) => number,
        }
    }
}

/// How the protocol's side of a request ended (section 5.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProtocolStatus {
    /// The request was served (0).
    #[default]
    RequestComplete,
    /// Refused: the application serves one request at a time on a connection (1).
    CantMpxConn,
    /// Refused: the application is short of a resource (2).
    Overloaded,
    /// Refused: the application does not have this role (3).
    UnknownRole,
    /// A status that the specification does not define.
    Unknown(u8),
}

impl From<u8> for ProtocolStatus {
    fn from(byte: u8) -> Self {
        match byte {
            0 => Self::RequestComplete,
            1 => Self::CantMpxConn,
            2 => Self::Overloaded,
            3 => Self::UnknownRole,
            byte => Self::Unknown(byte),
        }
    }
}

impl From<ProtocolStatus> for u8 {
    fn from(status: ProtocolStatus) -> Self {
        match status {
            ProtocolStatus::RequestComplete => 0,
            ProtocolStatus::CantMpxConn => 1,
            ProtocolStatus::Overloaded => 2,
            ProtocolStatus::UnknownRole => 3,
            ProtocolStatus::Unknown(byte) => byte,
        }
    }
}

impl fmt::Display for ProtocolStatus {
    /// The specification's name for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestComplete => f.write_str("REQUEST_COMPLETE"),
            Self::CantMpxConn => f.write_str("CANT_MPX_CONN"),
            Self::Overloaded => f.write_str("OVERLOADED"),
            Self::UnknownRole => f.write_str("UNKNOWN_ROLE"),
            Self::Unknown(byte) => write!(f, "protocol status {byte}"),
        }
    }
}

/// The body of a [`RecordType::BeginRequest`] record (section 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BeginRequest {
    /// What the application is asked to be.
    pub role: Role,
    /// The flags as they are on the wire; all but [`KEEP_CONN`] are without meaning.
    pub flags: u8,
}

impl BeginRequest {
    /// A body for this role, with [`KEEP_CONN`] set or not.
    pub fn new(role: Role, keep_conn: bool) -> Self {
        Self { role, flags: if keep_conn { KEEP_CONN } else { 0 } }
    }

    /// Whether the connection is to stay open after the request.
    pub fn keep_conn(self) -> bool {
        self.flags & KEEP_CONN != 0
    }

    /// Reads the body from a record's content; bytes beyond its 8 are ignored.
    ///
    /// # Errors
    /// [`Error::InvalidBodyLength`] if there are fewer.
    ///
    /// ```
    /// use fcgi::record::{BeginRequest, Role};
    /// let body = BeginRequest::parse(&[0, 1, 1, 0, 0, 0, 0, 0])?;
    /// assert_eq!(body, BeginRequest::new(Role::Responder, true));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn parse(content: &[u8]) -> Result<Self> {
        let [role1, role0, flags, ..] = fixed_body(RecordType::BeginRequest, content)?;
        Ok(Self { role: u16::from_be_bytes([role1, role0]).into(), flags })
    }

    /// The bytes of this body.
    pub fn encode(self) -> [u8; 8] {
        let [role1, role0] = u16::from(self.role).to_be_bytes();
        [role1, role0, self.flags, 0, 0, 0, 0, 0]
    }
}

/// The body of a [`RecordType::EndRequest`] record (section 5.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EndRequest {
    /// The application's own status, like the exit status of a CGI program; 0 is success.
    pub app_status: u32,
    /// How the protocol's side ended.
    pub protocol_status: ProtocolStatus,
}

impl EndRequest {
    /// Reads the body from a record's content; bytes beyond its 8 are ignored.
    ///
    /// # Errors
    /// [`Error::InvalidBodyLength`] if there are fewer.
    ///
    /// ```
    /// use fcgi::record::{EndRequest, ProtocolStatus};
    /// let body = EndRequest::parse(&[0, 0, 3, 170, 0, 0, 0, 0])?;
    /// assert_eq!(
    ///     body,
    ///     EndRequest { app_status: 938, protocol_status: ProtocolStatus::RequestComplete }
    /// );
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn parse(content: &[u8]) -> Result<Self> {
        let [a3, a2, a1, a0, status, ..] = fixed_body(RecordType::EndRequest, content)?;
        Ok(Self {
            app_status: u32::from_be_bytes([a3, a2, a1, a0]),
            protocol_status: status.into(),
        })
    }

    /// The bytes of this body.
    pub fn encode(self) -> [u8; 8] {
        let [a3, a2, a1, a0] = self.app_status.to_be_bytes();
        [a3, a2, a1, a0, self.protocol_status.into(), 0, 0, 0]
    }

    /// The whole record, header included.
    pub(crate) fn record(self, request_id: u16) -> [u8; 16] {
        fixed_record(RecordType::EndRequest, request_id, self.encode())
    }
}

/// The body of a [`RecordType::UnknownType`] record (section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnknownType {
    /// The type of the management record that was not understood.
    pub record_type: RecordType,
}

impl UnknownType {
    /// Reads the body from a record's content; bytes beyond its 8 are ignored.
    ///
    /// # Errors
    /// [`Error::InvalidBodyLength`] if there are fewer.
    pub fn parse(content: &[u8]) -> Result<Self> {
        let [record_type, ..] = fixed_body(RecordType::UnknownType, content)?;
        Ok(Self { record_type: record_type.into() })
    }

    /// The bytes of this body.
    ///
    /// ```
    /// use fcgi::record::{RecordType, UnknownType};
    /// assert_eq!(
    ///     UnknownType { record_type: RecordType::Unknown(99) }.encode(),
    ///     [99, 0, 0, 0, 0, 0, 0, 0]
    /// );
    /// ```
    pub fn encode(self) -> [u8; 8] {
        [self.record_type.into(), 0, 0, 0, 0, 0, 0, 0]
    }
}

/// A whole record with a body of fixed layout.
pub(crate) fn fixed_record(record_type: RecordType, request_id: u16, body: [u8; 8]) -> [u8; 16] {
    let mut record = [0; 16];
    record[..HEADER_LEN].copy_from_slice(&Header::new(record_type, request_id, 8).encode());
    record[HEADER_LEN..].copy_from_slice(&body);
    record
}

fn fixed_body(record_type: RecordType, content: &[u8]) -> Result<[u8; 8]> {
    let body = content.get(..8).and_then(|body| body.try_into().ok());
    body.ok_or_else(|| Error::InvalidBodyLength { record_type, len: content.len() })
}
