"""The commands of launch/, one module each; the scripts there only call them."""
