"""rqk.core"""
