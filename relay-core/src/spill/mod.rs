//! What is on disk: placeholder of the lead's branch, replaced by w-log.

/// What happens when the log has reached its bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Nothing more is stored until there is room.
    #[default]
    Refuse,
    /// The oldest segment makes room; what was in it counts as dropped.
    DropOldest,
}
