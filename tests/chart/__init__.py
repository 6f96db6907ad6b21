"""Tests of the Helm chart that need helm but no cluster; what needs one is in tests/cluster."""
