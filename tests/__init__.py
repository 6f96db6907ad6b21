"""Everything that proves rqk; how the tiers differ is told in docs/architecture.md."""
