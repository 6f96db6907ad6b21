"""A module that starts a thread at import, which forked jobs will not have."""

import threading

stop = threading.Event()
thread = threading.Thread(target=stop.wait, name="sampler", daemon=True)
thread.start()
