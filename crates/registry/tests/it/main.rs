//! What this crate does on a network, against the kit's registry and servers that recite a script.

#![cfg(test)]

mod blob;
mod document;
mod frames;
mod hosts;
mod http2;
mod login;
mod proxy;
mod redirect;
mod script;
mod strangers;
mod support;
mod tls;
mod upload;
