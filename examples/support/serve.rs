//! The command line of the applications: `[ADDRESS]`.

use fcgi::net::{Address, Listener};
use fcgi::Server;

use super::cli::{parse_address, Arguments};
use super::exit::Exit;

/// Parses the command line of an application without options of its own, and binds the address.
pub fn bind_from(mut args: Arguments) -> Result<Server, Exit> {
    if args.next_option()?.is_some() {
        return Err(args.unknown_option());
    }
    let address = optional_address(&mut args)?;
    args.finish()?;
    bind(address.as_ref())
}

/// Returns the next positional argument as an address, or `None` if there is none or if it is `-`.
pub fn optional_address(args: &mut Arguments) -> Result<Option<Address>, Exit> {
    let address = args.next_positional().filter(|address| address != "-");
    address.map(|address| parse_address(&address)).transpose()
}

/// Binds the address. Without one, serves the listening socket on descriptor 0.
pub fn bind(address: Option<&Address>) -> Result<Server, Exit> {
    match address {
        Some(address) => Ok(Server::new(Listener::bind(address)?)?),
        None => Ok(Server::from_stdin()?),
    }
}
