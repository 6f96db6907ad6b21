"""rqk.worker"""
