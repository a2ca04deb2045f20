//! Reading back what is durable, and checking it once more on the way.

use backstay_evidence::{Broken, Chain, Head, Record};

use crate::{
    disk::{Disk, DiskFile as _},
    ledger::ReadError,
    segment::{SLOTS_AT, file_name, slot, slot_bytes},
    survey::Part,
};

/// The records of a journal from some sequence on. Holds one segment in memory.
#[derive(Debug)]
pub struct Reader<'a, D> {
    disk: &'a D,
    chain: &'a Chain,
    parts: &'a [Part],
    from_seq: u64,
    sheet: Vec<u8>,
    at: usize,
    head: Option<Head>,
}

impl<'a, D: Disk> Reader<'a, D> {
    pub(crate) fn new(disk: &'a D, chain: &'a Chain, parts: &'a [Part], from_seq: u64) -> Self {
        // What ends before has nothing that is asked for, and need not be read.
        let skipped = parts.iter().take_while(|part| part.end.seq < from_seq).count();
        Self { disk, chain, parts: &parts[skipped..], from_seq, sheet: Vec::new(), at: 0, head: None }
    }

    /// The next record, or none at the end.
    fn step(&mut self) -> Result<Option<Record>, ReadError> {
        loop {
            let Some(part) = self.parts.first() else { return Ok(None) };
            let used = part.used as usize;
            let head = match self.head {
                Some(head) => head,
                None => {
                    self.at = SLOTS_AT;
                    self.sheet = if used > SLOTS_AT { self.load(part)? } else { Vec::new() };
                    part.base
                }
            };
            if self.at >= used {
                (self.parts, self.head) = (&self.parts[1..], None);
                continue;
            }
            let broken =
                |seq, why| ReadError::Broken { name: file_name(part.index), source: Broken { seq, why } };
            let frame = slot(&self.sheet, self.at).map_err(|why| broken(head.next_seq(), why))?;
            let next = self.chain.follow(&head, &frame).map_err(|why| broken(frame.seq, why))?;
            self.at += slot_bytes(frame.body.len());
            self.head = Some(next);
            if frame.seq >= self.from_seq {
                return Ok(Some(frame.to_record()));
            }
        }
    }

    fn load(&self, part: &Part) -> Result<Vec<u8>, ReadError> {
        let name = file_name(part.index);
        let mut sheet = vec![0; part.used as usize];
        let read = self.disk.open(&name).and_then(|file| file.read(0, &mut sheet));
        read.map_err(|source| ReadError::Io { name, source })?;
        Ok(sheet)
    }
}

impl<D: Disk> Iterator for Reader<'_, D> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.parts = &[];
        }
        step.transpose()
    }
}
