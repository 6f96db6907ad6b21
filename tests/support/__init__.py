"""What the tests stand on: real servers, proxies, worker processes and real RQ. Imports nothing, so that any interpreter may."""
