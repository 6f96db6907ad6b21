"""rqk.local"""
