//! All stories as one program, a module per file. A new file is named here.

mod bundles;
mod configuration;
mod device;
mod full;
mod hostile;
mod hostile_broker;
mod kept;
mod locks;
mod pipeline;
mod reports;
mod runs;
mod secrets;
mod starts;
mod stolen_director;
mod strikes;
mod thaws;
mod ways;
