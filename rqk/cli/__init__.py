"""rqk.cli"""
