"""The inventory of a node: what it has of keys, certificates, CRLs and peers, what each is for, and when it ends.

    inventory = take_inventory(find_configuration())
    for entry in inventory.entries:  # the most urgent first
        print(entry.name, entry.days_left, entry.consequence)

| module    | holds                                                                     |
|-----------|---------------------------------------------------------------------------|
| entries   | `Entry`, `Inventory`: one row, and all of them                            |
| collect   | `take_inventory`: reads the configuration, devices and files               |
| devices   | keys, secret keys and certificates on tokens and cards                     |
| uses      | which identity, listener, peer and route uses what                         |
"""

from hsm_dicom.node.inventory.collect import take_inventory
from hsm_dicom.node.inventory.entries import Entry, Inventory, Kind, Urgency

__all__ = ["Entry", "Inventory", "Kind", "Urgency", "take_inventory"]
