"""rqk.store"""
