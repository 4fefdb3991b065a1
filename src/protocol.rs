//! The numbers and names that the [FastCGI specification] defines, without any I/O.
//!
//! [`record`](crate::record) re-exports the public items. Section numbers in this file are those of
//! the specification.
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html

use std::fmt;

/// The only version of the protocol (`FCGI_VERSION_1`).
pub const VERSION: u8 = 1;
/// The length of a [`Header`](crate::record::Header) in bytes (`FCGI_HEADER_LEN`).
pub const HEADER_LEN: usize = 8;
/// The maximum length of a record's content in bytes (`FCGI_MAX_LENGTH`).
pub const MAX_CONTENT_LEN: usize = 65535;
/// The file descriptor of an application's listening socket (`FCGI_LISTENSOCK_FILENO`, section 2.2
/// of the specification).
pub const LISTENSOCK_FILENO: i32 = 0;
/// The request id of management records (`FCGI_NULL_REQUEST_ID`, section 3.3 of the specification).
pub const NULL_REQUEST_ID: u16 = 0;
/// The flag of [`BeginRequest`](crate::record::BeginRequest) that asks the application to keep the
/// connection open (`FCGI_KEEP_CONN`, section 5.1 of the specification).
pub const KEEP_CONN: u8 = 1;

/// The variable for the number of connections that an application accepts at once (section 4.1 of
/// the specification).
pub const MAX_CONNS: &str = "FCGI_MAX_CONNS";
/// The variable for the number of requests that an application accepts at once (section 4.1 of the
/// specification).
pub const MAX_REQS: &str = "FCGI_MAX_REQS";
/// The variable that is `1` if an application multiplexes requests on a connection, and otherwise
/// `0` (section 4.1 of the specification).
pub const MPXS_CONNS: &str = "FCGI_MPXS_CONNS";

/// The maximum content length that is a multiple of 8, in bytes.
///
/// A stream that is split into records of this length needs no padding. Longer content cannot be
/// padded to a multiple of 8, because some peers refuse a record whose content and padding together
/// exceed 65535 bytes.
pub(crate) const MAX_ALIGNED_LEN: usize = MAX_CONTENT_LEN & !7;

/// The type of a record (section 8 of the specification).
///
/// Each variant states its number and the section of the specification that describes it.
///
/// ```
/// use fcgi::record::RecordType;
///
/// assert_eq!(RecordType::from(4), RecordType::Params);
/// assert_eq!(RecordType::from(99), RecordType::Unknown(99));
/// assert_eq!(u8::from(RecordType::UnknownType), 11);
/// assert_eq!(RecordType::EndRequest.to_string(), "END_REQUEST");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordType {
    /// Begins a request (1, section 5.1).
    BeginRequest,
    /// Asks the application to end a request early (2, section 5.4).
    AbortRequest,
    /// Ends a request (3, section 5.5).
    EndRequest,
    /// Carries the name-value pairs of a request (4, section 5.2).
    Params,
    /// Carries the body of a request (5, section 5.3).
    Stdin,
    /// Carries the response (6, section 5.3).
    Stdout,
    /// Carries error messages (7, section 5.3).
    Stderr,
    /// Carries the file that a filter works on (8, section 5.3).
    Data,
    /// Asks an application for the values of variables (9, section 4.1).
    GetValues,
    /// Answers [`GetValues`](Self::GetValues) (10, section 4.1).
    GetValuesResult,
    /// Answers a management record of unknown type (11, section 4.2).
    UnknownType,
    /// A type that the specification does not define.
    Unknown(u8),
}

impl RecordType {
    /// Returns whether records of this type belong to a connection and not to a request.
    ///
    /// Such a record has the id [`NULL_REQUEST_ID`]. The result is false for an
    /// [`Unknown`](Self::Unknown) type, which may have any id.
    ///
    /// ```
    /// use fcgi::record::RecordType;
    ///
    /// assert!(RecordType::GetValues.is_management());
    /// assert!(!RecordType::Params.is_management());
    /// ```
    pub fn is_management(self) -> bool {
        matches!(self, Self::GetValues | Self::GetValuesResult | Self::UnknownType)
    }

    /// Returns whether a record of this type may have this request id (section 3.3 of the
    /// specification).
    pub(crate) fn allows_id(self, request_id: u16) -> bool {
        matches!(self, Self::Unknown(_)) || self.is_management() == (request_id == NULL_REQUEST_ID)
    }
}

impl From<u8> for RecordType {
    fn from(byte: u8) -> Self {
        match byte {
            1 => Self::BeginRequest,
            2 => Self::AbortRequest,
            3 => Self::EndRequest,
            4 => Self::Params,
            5 => Self::Stdin,
            6 => Self::Stdout,
            7 => Self::Stderr,
            8 => Self::Data,
            9 => Self::GetValues,
            10 => Self::GetValuesResult,
            11 => Self::UnknownType,
            byte => Self::Unknown(byte),
        }
    }
}

impl From<RecordType> for u8 {
    fn from(record_type: RecordType) -> Self {
        match record_type {
            RecordType::BeginRequest => 1,
            RecordType::AbortRequest => 2,
            RecordType::EndRequest => 3,
            RecordType::Params => 4,
            RecordType::Stdin => 5,
            RecordType::Stdout => 6,
            RecordType::Stderr => 7,
            RecordType::Data => 8,
            RecordType::GetValues => 9,
            RecordType::GetValuesResult => 10,
            RecordType::UnknownType => 11,
            RecordType::Unknown(byte) => byte,
        }
    }
}

impl fmt::Display for RecordType {
    /// Writes the name of the type in the specification, without the prefix `FCGI_`, or `type-99`
    /// for an unknown type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BeginRequest => "BEGIN_REQUEST",
            Self::AbortRequest => "ABORT_REQUEST",
            Self::EndRequest => "END_REQUEST",
            Self::Params => "PARAMS",
            Self::Stdin => "STDIN",
            Self::Stdout => "STDOUT",
            Self::Stderr => "STDERR",
            Self::Data => "DATA",
            Self::GetValues => "GET_VALUES",
            Self::GetValuesResult => "GET_VALUES_RESULT",
            Self::UnknownType => "UNKNOWN_TYPE",
            Self::Unknown(number) => return f.pad(&format!("type-{number}")),
        })
    }
}

/// The part that an application plays in a request (section 6 of the specification).
///
/// Each variant states its number and the section of the specification that describes it.
///
/// ```
/// use fcgi::record::Role;
///
/// assert_eq!(Role::from(3), Role::Filter);
/// assert_eq!(u16::from(Role::Unknown(9)), 9);
/// assert_eq!(Role::Responder.to_string(), "RESPONDER");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Answers an HTTP request (1, section 6.2).
    #[default]
    Responder,
    /// Decides whether an HTTP request is allowed (2, section 6.3).
    Authorizer,
    /// Answers an HTTP request for a file, whose content it receives (3, section 6.4).
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

impl fmt::Display for Role {
    /// Writes the name of the role in the specification, without the prefix `FCGI_`, or `role-9`
    /// for an unknown role.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Responder => "RESPONDER",
            Self::Authorizer => "AUTHORIZER",
            Self::Filter => "FILTER",
            Self::Unknown(number) => return f.pad(&format!("role-{number}")),
        })
    }
}

/// How a request ended at the protocol level (section 5.5 of the specification).
///
/// ```
/// use fcgi::record::ProtocolStatus;
///
/// assert_eq!(ProtocolStatus::from(2), ProtocolStatus::Overloaded);
/// assert_eq!(u8::from(ProtocolStatus::UnknownRole), 3);
/// assert_eq!(ProtocolStatus::CantMpxConn.to_string(), "CANT_MPX_CONN");
/// assert_eq!(ProtocolStatus::Unknown(9).to_string(), "status-9");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProtocolStatus {
    /// The request was served (0).
    #[default]
    RequestComplete,
    /// The request was refused: the application serves one request at a time on a connection (1).
    CantMpxConn,
    /// The request was refused: the application is out of some resource (2).
    Overloaded,
    /// The request was refused: the application does not know the role (3).
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
    /// Writes the name of the status in the specification, without the prefix `FCGI_`, or
    /// `status-9` for an unknown status.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::RequestComplete => "REQUEST_COMPLETE",
            Self::CantMpxConn => "CANT_MPX_CONN",
            Self::Overloaded => "OVERLOADED",
            Self::UnknownRole => "UNKNOWN_ROLE",
            Self::Unknown(number) => return f.pad(&format!("status-{number}")),
        })
    }
}
