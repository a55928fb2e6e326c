//! Whether yrs, by which the checks judge documents, reads an update as Yjs does.
//!
//! It takes the name of an XML hook for the next struct, keeps only the options of subdocuments that it knows, makes numbers of
//! BigInts, knows no negative zero, and parses JSON with serde_json.

use ydash_proto::lib0::{Lib0Error, Reader};

/// Whether nothing in `update`, which passed the scan, is among that.
pub(crate) fn yrs_reads(update: &[u8]) -> bool {
    faithful(update).expect("it was scanned")
}

fn faithful(update: &[u8]) -> Result<bool, Lib0Error> {
    let mut reader = Reader::new(update);
    let mut is_faithful = true;
    for _ in 0..reader.var_uint()? {
        let structs = reader.var_uint()?;
        reader.var_uint()?; // client
        reader.var_uint()?; // clock
        for _ in 0..structs {
            let info = reader.u8()?;
            if info == 0 || info == 10 {
                reader.var_uint()?;
                continue;
            }
            pass_header(&mut reader, info)?;
            is_faithful &= content(&mut reader, info & 0x1f)?;
        }
    }
    Ok(is_faithful)
}

/// The neighbours of an item, or its parent and its key.
fn pass_header(reader: &mut Reader<'_>, info: u8) -> Result<(), Lib0Error> {
    for neighbour in [0x80, 0x40] {
        if info & neighbour != 0 {
            reader.var_uint()?;
            reader.var_uint()?;
        }
    }
    if info & 0xc0 == 0 {
        if reader.var_uint()? == 1 {
            reader.var_str()?;
        } else {
            reader.var_uint()?;
            reader.var_uint()?;
        }
        if info & 0x20 != 0 {
            reader.var_str()?;
        }
    }
    Ok(())
}

fn content(reader: &mut Reader<'_>, kind: u8) -> Result<bool, Lib0Error> {
    let is_json = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
    match kind {
        1 => drop(reader.var_uint()?),
        2 => {
            for _ in 0..reader.var_uint()? {
                reader.var_str()?;
            }
            return Ok(false);
        }
        3 => drop(reader.var_bytes()?),
        4 => drop(reader.var_str()?),
        5 => return Ok(is_json(reader.var_str()?)),
        6 => {
            reader.var_str()?;
            return Ok(is_json(reader.var_str()?));
        }
        7 => match reader.var_uint()? {
            3 => drop(reader.var_str()?),
            5 => {
                reader.var_str()?;
                return Ok(false);
            }
            _ => {}
        },
        8 => {
            let mut is_faithful = true;
            for _ in 0..reader.var_uint()? {
                is_faithful &= any(reader)?;
            }
            return Ok(is_faithful);
        }
        9 => {
            reader.var_str()?;
            any(reader)?;
            return Ok(false);
        }
        other => unreachable!("content {other} passed the scan"),
    }
    Ok(true)
}

/// One value; what nests in it is bounded by the scan.
fn any(reader: &mut Reader<'_>) -> Result<bool, Lib0Error> {
    match reader.u8()? {
        125 => {
            let is_negative = reader.clone().u8()? & 0x40 != 0;
            return Ok(reader.var_int()? != 0 || !is_negative);
        }
        124 => drop(reader.bytes(4)?),
        123 => drop(reader.bytes(8)?),
        122 => {
            reader.bytes(8)?;
            return Ok(false);
        }
        119 => drop(reader.var_str()?),
        tag @ (118 | 117) => {
            let mut is_faithful = true;
            for _ in 0..reader.var_uint()? {
                if tag == 118 {
                    reader.var_str()?;
                }
                is_faithful &= any(reader)?;
            }
            return Ok(is_faithful);
        }
        116 => drop(reader.var_bytes()?),
        _ => {}
    }
    Ok(true)
}
