//! Copies records from stdin to stdout as STDOUT records. It uses the codec alone, so it must
//! contain neither sockets nor threads.

use std::io;

use fcgi::record::{read_record, write_record, RecordType};

fn main() -> fcgi::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut content = Vec::new();
    while let Some(header) = read_record(&mut input, &mut content)? {
        write_record(&mut output, RecordType::Stdout, header.request_id, &content)?;
    }
    Ok(())
}
