//! Named commands of a server, and where each of them runs: here, or on another machine.
//!
//! Not here: how a command is run (`command`), and how another machine is reached (`ssh`).

use std::{collections::BTreeMap, error::Error, fmt};

use backstay_model::{Answer, Millis, Name};

use crate::{
    command::{Command, CommandError},
    leftovers::Mark,
    output::refused,
    ssh::{Ssh, SshError},
};

/// Where a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the server's own machine.
    Here,
    /// On another one.
    Ssh(Ssh),
}

/// A command as the configuration has it, and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCommand {
    /// What is run. By SSH its environment and its folder are those on the other machine.
    pub command: Command,
    /// Where.
    pub place: Place,
}

/// A server's command that can't be used as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerCommandError {
    /// The command itself.
    Command {
        /// Why.
        source: CommandError,
    },
    /// By SSH.
    Ssh {
        /// Why.
        source: SshError,
    },
}

impl ServerCommandError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Command { source } => source.help(),
            Self::Ssh { source } => source.help(),
        }
    }
}

impl fmt::Display for ServerCommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command { .. } => "the command can't be run",
            Self::Ssh { .. } => "the command can't be run by ssh",
        })
    }
}

impl Error for ServerCommandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Command { source } => Some(source),
            Self::Ssh { source } => Some(source),
        }
    }
}

/// The commands that a server's configuration names.
#[derive(Debug, Default)]
pub struct ServerCommands(BTreeMap<Name, ServerCommand>);

impl ServerCommands {
    /// Takes commands that can be used. No machine is reached yet.
    ///
    /// # Errors
    /// Names the first that can't, and why.
    pub fn new(commands: BTreeMap<Name, ServerCommand>) -> Result<Self, (Name, ServerCommandError)> {
        for (name, command) in &commands {
            command.check().map_err(|error| (name.clone(), error))?;
        }
        Ok(Self(commands))
    }

    /// Marks what runs on this machine from now on, with all that it starts.
    pub fn mark(&mut self, mark: &Mark) {
        for ServerCommand { command, place } in self.0.values_mut() {
            match place {
                Place::Here => command.environment.extend([mark.variable()]),
                // Over there it ends with the connection.
                Place::Ssh(_) => {}
            }
        }
    }

    /// Runs one. One that isn't configured is refused; one that certainly did not begin has failed; one that began on
    /// another machine, and whose end was not heard, is in doubt. Dropped before it ends, it leaves no process behind
    /// here, and none there as soon as that machine sees the connection end.
    pub async fn run(&self, name: &Name, args: &[String]) -> Answer {
        let Some(ServerCommand { command, place }) = self.0.get(name) else {
            return refused(format!("no command {name} is configured"));
        };
        if let Some(why) = command.refuses(name, args) {
            return refused(why);
        }
        match place {
            Place::Here => command.answer(name, args).await,
            Place::Ssh(ssh) => ssh.answer(name, command, args).await,
        }
    }
}

impl ServerCommand {
    /// What a command is given where nothing is configured.
    pub const TIMEOUT: Millis = Millis::from_secs(60);

    /// Checks it once, so that running it can only fail for reasons outside of the configuration.
    ///
    /// # Errors
    /// Says what can't be used.
    pub fn check(&self) -> Result<(), ServerCommandError> {
        self.command.check().map_err(|source| ServerCommandError::Command { source })?;
        match &self.place {
            Place::Here => Ok(()),
            Place::Ssh(ssh) => ssh.check(&self.command).map_err(|source| ServerCommandError::Ssh { source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{ExtraArgs, tests::shell};

    fn there(command: Command) -> ServerCommand {
        let file = || "/nowhere/to/be/found".into();
        let (host, user) = ("h".into(), "u".into());
        let ssh = Ssh { host, port: Ssh::PORT, user, key: file(), known_hosts: file(), program: file() };
        ServerCommand { command, place: Place::Ssh(ssh) }
    }

    fn here(command: Command) -> ServerCommand {
        ServerCommand { command, place: Place::Here }
    }

    fn name() -> Name {
        Name::parse("it").unwrap()
    }

    fn commands(command: ServerCommand) -> Result<ServerCommands, (Name, ServerCommandError)> {
        ServerCommands::new(BTreeMap::from([(name(), command)]))
    }

    /// There is no client to run, so whatever is not refused has failed.
    #[tokio::test]
    async fn what_may_be_added_to_a_command_is_the_same_wherever_it_runs() {
        for place in [here, there] {
            let fixed = commands(place(shell("exit 3"))).unwrap();
            let more = fixed.run(&name(), &["x".into()]).await;
            assert!(matches!(more, Answer::Refused(_)), "{more:?}");
            assert!(matches!(
                fixed.run(&name(), &[]).await,
                Answer::Exited { code: Some(3), .. } | Answer::Failed(_)
            ));
            let open =
                commands(place(Command { extra_args: ExtraArgs::Allowed, ..shell("exit 3") })).unwrap();
            for too_much in [vec!["x".repeat(1025)], vec![String::new(); 33], vec!["a\0b".into()]] {
                assert!(matches!(open.run(&name(), &too_much).await, Answer::Refused(_)));
            }
            let odd = open.run(&name(), &["-x".into()]).await;
            assert!(matches!(odd, Answer::Exited { code: Some(3), .. } | Answer::Failed(_)), "{odd:?}");
        }
        assert!(matches!(ServerCommands::default().run(&name(), &[]).await, Answer::Refused(_)));
    }

    #[test]
    fn each_part_is_checked_and_named() {
        let none = Command { argv: vec![], ..shell("") };
        for place in [here, there] {
            let (_, error) = commands(place(none.clone())).map(drop).unwrap_err();
            assert_eq!(error, ServerCommandError::Command { source: CommandError::Empty });
        }
        let (_, error) =
            commands(there(Command { dir: Some("x".into()), ..shell("") })).map(drop).unwrap_err();
        assert!(matches!(error, ServerCommandError::Ssh { source: SshError::Dir { .. } }), "{error:?}");
        assert!(error.help().is_some() && error.source().is_some());
    }
}
