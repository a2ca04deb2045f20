//! What every command has at hand: where to print, and which server to ask.

use std::time::Duration;

use crate::{
    Failure,
    arguments::Global,
    client::{Client, Server},
    printer::Printer,
};

/// What every command has at hand.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) printer: Printer,
    server: Server,
}

impl Desk {
    pub(crate) fn new(global: Global) -> Self {
        Self { printer: Printer::new(global.output, global.words()), server: global.server }
    }

    /// The way to the server. Only commands that need one ask for it, so the others need no address.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.server)
    }

    /// The same, with so long for each call.
    pub(crate) fn client_within(&self, timeout: Duration) -> Result<Client, Failure> {
        Client::within(&self.server, timeout)
    }

    /// For tests: the same, and nobody reads.
    #[cfg(test)]
    pub(crate) fn unread(self) -> Self {
        Self { printer: self.printer.unread(), ..self }
    }

    /// For tests: says nothing, and knows no server.
    #[cfg(test)]
    pub(crate) fn quiet() -> Self {
        use crate::printer::{Output, Words};
        Self { printer: Printer::new(Output::Table, Words::Quiet).unread(), server: Server::default() }
    }
}
