"""How many workers a pool needs: the resource, the pure decision, and a simulator. Shared by ``rqk up`` and the operator."""
