//! What both sides may use: of what can be agreed upon, what both want.

/// Something that both sides have to agree upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Feature {
    Heartbeat,
    Ack,
    ListJobs,
    Subscribe,
    LeaseExpiresAt,
    CostBudget,
    ModelUse,
    ProvisionedCredentials,
    Progress,
    ResultChunk,
    AgentVersions,
}

impl Feature {
    pub(super) const ALL: [Self; 11] = [
        Self::Heartbeat,
        Self::Ack,
        Self::ListJobs,
        Self::Subscribe,
        Self::LeaseExpiresAt,
        Self::CostBudget,
        Self::ModelUse,
        Self::ProvisionedCredentials,
        Self::Progress,
        Self::ResultChunk,
        Self::AgentVersions,
    ];

    /// As on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Ack => "ack",
            Self::ListJobs => "list_jobs",
            Self::Subscribe => "subscribe",
            Self::LeaseExpiresAt => "lease_expires_at",
            Self::CostBudget => "cost.budget",
            Self::ModelUse => "model.use",
            Self::ProvisionedCredentials => "provisioned_credentials",
            Self::Progress => "progress",
            Self::ResultChunk => "result_chunk",
            Self::AgentVersions => "agent_versions",
        }
    }
}

/// Some of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Features(u16);

impl Features {
    /// Those that are known of these.
    pub(super) fn named<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let known = |name: &str| Feature::ALL.into_iter().find(|feature| feature.name() == name);
        Self(names.filter_map(known).fold(0, |set, feature| set | 1 << feature as u8))
    }

    pub(super) fn have(self, feature: Feature) -> bool {
        self.0 & 1 << feature as u8 != 0
    }

    /// All but this one.
    #[must_use]
    pub(super) fn without(self, feature: Feature) -> Self {
        Self(self.0 & !(1 << feature as u8))
    }

    /// In the draft's order.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        Feature::ALL.into_iter().filter(move |feature| self.have(*feature)).map(Feature::name)
    }
}
