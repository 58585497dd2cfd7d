//! Counts of requests and bytes, host by host.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};

use crate::base::{lock, one_line};

/// The requests and bytes that passed between us and one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The host, with its port if there is one.
    pub host: String,
    /// How many requests were answered, redirects and questions for tokens among them.
    pub requests: u64,
    /// How many bytes of answers were read, without their heads.
    pub received: u64,
    /// How many bytes of requests the network took, without their heads.
    pub sent: u64,
    /// How often the host was asked again for a manifest, or for the rest of a blob.
    pub retries: u64,
    /// How often the host was left for another one, as a mirror.
    pub fallbacks: u64,
}

impl Traffic {
    /// The fields of a JSON object.
    pub fn to_json(&self) -> Map<String, Value> {
        let Self { host, requests, received, sent, retries, fallbacks } = self;
        let fields = [
            ("host", one_line(host).into()),
            ("requests", (*requests).into()),
            ("received", (*received).into()),
            ("sent", (*sent).into()),
            ("retries", (*retries).into()),
            ("fallbacks", (*fallbacks).into()),
        ];
        fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// The counts for one host.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    retries: AtomicU64,
    fallbacks: AtomicU64,
}

impl Meter {
    /// A request was answered.
    pub(super) fn answered(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of an answer were read.
    pub(super) fn received(&self, n_bytes: u64) {
        self.received.fetch_add(n_bytes, Ordering::Relaxed);
    }

    /// The network took bytes of a request.
    pub(super) fn sent(&self, n_bytes: u64) {
        self.sent.fetch_add(n_bytes, Ordering::Relaxed);
    }

    /// The host was asked again for the same thing.
    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// The host was left for another one, because it failed as a mirror.
    pub(crate) fn left_behind(&self) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
    }
}

/// The counts for all hosts.
#[derive(Debug, Default)]
pub(super) struct Meters(Mutex<BTreeMap<String, Arc<Meter>>>);

impl Meters {
    /// The counts for one host.
    pub(super) fn of(&self, host: &str) -> Arc<Meter> {
        let mut meters = lock(&self.0);
        Arc::clone(meters.entry(host.to_owned()).or_default())
    }

    /// All counts so far, by the hosts' names.
    pub(super) fn all(&self) -> Vec<Traffic> {
        let meters = lock(&self.0);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let traffic = meters.iter().map(|(host, meter)| Traffic {
            host: host.clone(),
            requests: count(&meter.requests),
            received: count(&meter.received),
            sent: count(&meter.sent),
            retries: count(&meter.retries),
            fallbacks: count(&meter.fallbacks),
        });
        traffic.collect()
    }
}
